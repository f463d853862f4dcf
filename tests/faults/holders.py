"""Which tests hold which row of the catalogue.

A name may be that of a test, of a case with several, or of a module.
"""

from __future__ import annotations

_HANDSHAKE = "tests.faults.test_handshake"
_REAL = "tests.faults.test_handshake_real"

HOLDERS: dict[str, tuple[str, ...]] = {
    "A1": (f"{_HANDSHAKE}.LossTests", f"{_REAL}.TroubleTests"),
    "A2": (f"{_HANDSHAKE}.CorruptionTests", f"{_REAL}.TroubleTests"),
    "A3": (f"{_HANDSHAKE}.DelayTests", f"{_REAL}.DelayTests"),
    "A4": (
        f"{_HANDSHAKE}.AbsenceTests.test_nobody",
        f"{_REAL}.AbsenceTests.test_a_server_that_comes_late",
        f"{_REAL}.AbsenceTests.test_nobody",
        "tests.interop.test_client_program.AddressTests.test_no_server",
    ),
    "A5": (
        f"{_HANDSHAKE}.AbsenceTests.test_one_of_two_addresses",
        f"{_HANDSHAKE}.AbsenceTests.test_late_cookie",
        f"{_REAL}.AbsenceTests.test_one_of_two_addresses",
    ),
    "A6": (f"{_HANDSHAKE}.ExpiryTests",),
    "A7": (
        "tests.interop.test_access.LimitTests.test_full_server",
        "tests.net.test_listener_access.LimitTests",
    ),
    "A8": (f"{_HANDSHAKE}.RepetitionTests", f"{_REAL}.TroubleTests"),
    "A9": (f"{_HANDSHAKE}.ForgeryTests", f"{_REAL}.ForgeryTests"),
    "A10": (
        f"{_REAL}.StrangerTests",
        "tests.secure.test_server_hostile.BadInitiateTests",
        "tests.interop.test_hostile_packets.BadPacketTests",
    ),
    "B1": (
        "tests.faults.test_streams_loss.LossTests.test_two_percent",
        "tests.faults.test_streams_real.TroubleTests",
    ),
    "B2": (
        "tests.faults.test_streams_loss.LossTests.test_ten_percent",
        "tests.faults.test_streams_ends.SleeperTests",
        "tests.faults.test_streams_real.TroubleTests",
    ),
    "B3": ("tests.faults.test_streams_loss.ReorderingTests",),
    "B4": (
        "tests.faults.test_streams_loss.DuplicateTests",
        "tests.stream.test_bad_networks.ScheduleTests.test_copies",
    ),
    "B5": ("tests.faults.test_streams_loss.CorruptionTests",),
    "B6": ("tests.faults.test_streams_outages.OutageTests.test_again_and_again",),
    "B7": (
        "tests.faults.test_streams_outages.OutageTests.test_five_seconds",
        "tests.faults.test_streams_outages.OutageTests.test_ten_seconds",
        "tests.faults.test_streams_outages.OutageTests.test_half_a_minute",
        "tests.faults.test_streams_outages.OutageTests.test_a_minute",
        "tests.faults.test_streams_outages.OutageTests.test_an_hour",
        "tests.faults.test_streams_real.OutageTests",
    ),
    "B8": (
        "tests.faults.test_streams_outages.NeverBackTests",
        "tests.faults.test_streams_programs.RestartTests.test_killed",
        "tests.interop.test_streams_trouble.OutageTests.test_no_return",
    ),
    "B9": (
        "tests.faults.test_streams_ends.TruncationTests",
        "tests.faults.test_streams_programs.TruncationTests",
        "tests.interop.test_streams_trouble.OutageTests.test_outage",
        "tests.net.test_programs.ProgramTests.test_program_that_ends_at_once",
    ),
    "B10": (
        "tests.faults.test_streams_ends.LastAcknowledgmentTests",
        "tests.faults.test_streams_real.LastAcknowledgmentTests",
        "tests.stream.test_bad_networks.OutageTests.test_last_packets_lost",
    ),
    "B11": (
        "tests.faults.test_streams_flow.HalfCloseTests",
        "tests.faults.test_streams_programs.HalfCloseTests",
        "tests.interop.test_streams_trouble.ProgramTests",
        "tests.interop.test_streams_matrix",
    ),
    "B12": (
        "tests.faults.test_streams_flow.FullDuplexTests",
        "tests.faults.test_streams_real.FullDuplexTests",
        "tests.interop.test_streams_trouble.ProgramTests.test_a_program_that_writes_before_it_reads",
    ),
    "B13": (
        "tests.faults.test_streams_flow.OffsetTests",
        "tests.interop.test_streams_sizes.SizeTests",
        "tests.stream.test_bad_networks.SizeTests",
        "tests.stream.test_sender.CutTests",
    ),
    "B14": (
        "tests.faults.test_streams_flow.FailureTests",
        "tests.faults.test_streams_programs.SignalTests",
        "tests.faults.test_streams_programs.FlagTests",
        "tests.net.test_programs.ProgramTests.test_signal",
    ),
    "B15": (
        "tests.faults.test_streams_flow.SlowReaderTests",
        "tests.stream.test_limits.HoldingBackTests",
        "tests.interop.test_streams_memory",
    ),
    "B16": (
        "tests.faults.test_streams_moves.MoveTests",
        "tests.faults.test_streams_real.MoveTests",
        "tests.secure.test_session.PathTests",
    ),
    "B17": (
        "tests.faults.test_streams_moves.RestartTests",
        "tests.faults.test_streams_programs.RestartTests.test_mid_transfer",
    ),
    "B18": (
        "tests.faults.test_streams_moves.IdleTests",
        "tests.faults.test_streams_programs.IdleTests",
        "tests.stream.test_stream.SilenceTests",
    ),
    "C1": (
        "tests.secure.test_server_floods.AnswerTests.test_copies",
        "tests.secure.test_server_floods.AnswerTests.test_copies_at_once",
    ),
    "C2": (
        "tests.hostile.test_replays",
        "tests.secure.test_server_hostile.ReplayTests",
        "tests.interop.test_hostile_packets.ReplayTests",
        "tests.secure.test_cookies.UsedKeyTests",
    ),
    "C3": (
        "tests.secure.test_nonces.ReplayWindowTests",
        "tests.secure.test_session.MessageTests",
    ),
    "C4": ("tests.hostile.test_forgeries.ForgeryTests",),
    "C5": ("tests.hostile.test_forgeries.JunkTests",),
    "C6": (
        "tests.hostile.test_false_acknowledgments",
        "tests.stream.test_sender.AcknowledgmentTests",
    ),
    "C7": (
        "tests.hostile.test_reflection",
        "tests.secure.test_paths",
    ),
    "C8": (
        "tests.hostile.test_keys.KeyTests",
        "tests.secure.test_server_hostile.BadInitiateTests.test_low_order_short_term_key",
    ),
    "C9": ("tests.hostile.test_forms",),
    "C10": ("tests.hostile.test_bits.BitTests.test_every_bit",),
    "C11": (
        "tests.hostile.test_contradictions.ContradictionTests",
        "tests.stream.test_receiver.ReceiverTests.test_first_wins",
        "tests.stream.test_receiver.ReceiverTests.test_contradictions",
    ),
    "C12": ("tests.secure.test_server_floods.AnswerTests.test_amplification",),
    "D1": (
        "tests.faults.test_flood",
        "tests.net.test_udp_errors.ErrnoTests.test_batch_limit",
        "tests.secure.test_server_floods.AnswerTests.test_cost",
        "tests.secure.test_server_floods.AnswerTests.test_others_are_answered",
    ),
    "D2": (
        "tests.secure.test_server_floods.MemoryTests.test_forged_addresses",
        "tests.secure.test_buckets.BucketTableTests.test_bounded",
        "tests.secure.test_admission.HelloTests.test_table",
    ),
    "D3": ("tests.secure.test_server_floods.MemoryTests.test_many_hellos",),
    "D4": (
        "tests.secure.test_server_admission.CrowdTests",
        "tests.secure.test_admission_model.ModelTests.test_limits_hold",
        "tests.interop.test_access.LimitTests.test_one_address",
        "tests.interop.test_access.LimitTests.test_one_key",
        "tests.interop.test_access.LimitTests.test_start_rate",
    ),
    "D6": (
        "tests.interop.test_access.SilentClientTests",
        "tests.net.test_idle",
    ),
    "D7": (
        "tests.faults.test_processes_slow.StalledProgramTests",
        "tests.faults.test_processes_slow.SlowProgramTests.test_stopped_program",
        "tests.interop.test_stalled_programs",
    ),
    "D8": (
        "tests.faults.test_processes_slow.SlowProgramTests.test_fast_senders",
        "tests.interop.test_streams_memory",
    ),
    "D9": (
        "tests.faults.test_flood_log.BadPacketTests",
        "tests.interop.test_access.LogTests.test_bad_packets",
        "tests.net.test_refusals.RefusalTests",
    ),
    "E1": (
        "tests.faults.test_processes.FaultyProgramTests",
        "tests.interop.test_server_programs.SlotTests",
        "tests.interop.test_client_program.FaultyProgramTests",
        "tests.net.test_child_end.EscalationTests",
        "tests.net.test_pipes_errors",
    ),
    "E2": (
        "tests.faults.test_processes.ProgramEndTests",
        "tests.interop.test_client_program.StatusTests",
        "tests.net.test_child_real.RealProgramTests",
    ),
    "E3": (
        "tests.faults.test_system_spawn.SpawnErrorTests",
        "tests.faults.test_system_spawn.MissingProgramTests",
        "tests.faults.test_system_spawn.ProcessLimitTests",
        "tests.net.test_pipes_errors.ProgramErrnoTests",
    ),
    "E4": (
        "tests.faults.test_system_spawn.DescriptorLimitTests",
        "tests.faults.test_system_spawn.DescriptorLimitStreamTests",
        "tests.faults.test_system_descriptors.FullForwarderTests",
        "tests.net.test_reserve.ReserveTests",
    ),
    "E5": (
        "tests.net.test_udp_trouble.MoodyTransferTests.test_send_errors",
        "tests.net.test_udp_errors",
        "tests.faults.test_namespaces.LinkTests.test_full_queue",
        "tests.faults.test_namespaces.LinkTests.test_own_link_down",
    ),
    "E6": (
        "tests.net.test_udp_trouble.MoodyTransferTests.test_receive_errors",
        "tests.net.test_udp_trouble.WaitingErrorTests",
        "tests.net.test_udp_errors",
    ),
    "E7": (
        "tests.faults.test_namespaces.LinkTests.test_unreachable",
        "tests.faults.test_namespaces.LinkTests.test_closed_port",
    ),
    "E8": (
        "tests.faults.test_namespaces.LinkTests.test_link_down",
        "tests.faults.test_namespaces.LinkTests.test_address_change",
        "tests.faults.test_namespaces.LinkTests.test_small_packets_only",
        "tests.net.test_udp.OpenSocketTests",
    ),
    "E9": ("tests.faults.test_clocks",),
    "E10": (
        "tests.faults.test_clocks_stopped.StoppedServerTests",
        "tests.faults.test_processes.StoppedTests",
    ),
    "E11": (
        "tests.interop.test_stopping.DrainTests",
        "tests.interop.test_stopping.ProgramTests",
        "tests.interop.test_access.AuthorizedKeysTests",
        "tests.net.test_leaving",
        "tests.service.test_signals",
    ),
    "E12": (
        "tests.interop.test_stopping.ClientTests",
        "tests.interop.test_stopping.StandardDescriptorTests",
        "tests.service.test_tunnel.ListenTests",
    ),
    "E13": ("tests.faults.test_leaks",),
    "E14": ("tests.interop.test_child_setup.ChildSetupTests",),
    "F1": (
        "tests.net.test_keydir.LoadTests",
        "tests.net.test_keydir_counter.ReserveTests",
        "tests.commands.test_startup.FailingTests.test_unusable_key_directory",
    ),
    "F2": ("tests.commands.test_arguments.BadCommandLineTests",),
    "F3": ("tests.net.test_keydir_counter.ProcessTests",),
    "F4": (
        "tests.secure.test_session.ExhaustionTests",
        "tests.secure.test_nonces.NonceCounterTests",
    ),
    "F5": ("tests.hostile.test_neighbours.NeighbourTests.test_no_cross_talk",),
    "G1": (
        "tests.vectors.test_check",
        "tests.vectors.test_packets",
        "tests.vectors.test_messages",
        "tests.vectors.test_reference",
        "tests.secure.test_vectors",
    ),
    "G2": (
        "tests.wire.test_packets",
        "tests.wire.test_messages",
        "tests.wire.test_frames",
        "tests.stream.test_ranges",
        "tests.stream.test_limits.MoreRangesTests",
        "tests.stream.test_bbr.GateTests.test_any_history",
        "tests.stream.test_chicago",
        "tests.stream.test_sender_loss",
    ),
    "G3": ("tests.model",),
    "G4": (
        "tests.fuzzing.test_corpus.CorpusTests",
        "tests.fuzzing.test_corpus.FaultTests",
    ),
    "G5": ("tests.interop.test_differential.DifferentialTests",),
    "G6": ("tests.hostile.test_memory.MemoryTests.test_after_the_end",),
    "G7": ("tests.hostile.test_secrets",),
}

_CROWD = "tests.faults.controls.CrowdControl"
_STREAM = "tests.faults.controls.StreamControl"
_ENDS = "tests.faults.control_streams.EndControls"
_OUTAGES = "tests.faults.control_streams.OutageControls"
_PACE = "tests.faults.control_streams.PaceControls"

CONTROLS: dict[str, tuple[str, ...]] = {
    "A1": (f"{_CROWD}.test_loss",),
    "A2": (f"{_CROWD}.test_corruption",),
    "A3": (f"{_STREAM}.test_long_way",),
    "A4": (f"{_CROWD}.test_nobody",),
    "A5": (f"{_CROWD}.test_dead_address",),
    "A6": ("tests.faults.controls.HoldControl",),
    "A8": (f"{_CROWD}.test_repetition",),
    "B1": (f"{_STREAM}.test_clean", f"{_STREAM}.test_loss"),
    "B2": ("tests.faults.control_streams.LossControls",),
    "B3": (f"{_STREAM}.test_reordering", f"{_STREAM}.test_jitter"),
    "B4": (f"{_STREAM}.test_repetition",),
    "B5": (f"{_STREAM}.test_corruption",),
    "B6": (f"{_STREAM}.test_outages",),
    "B7": (f"{_OUTAGES}.test_outages",),
    "B8": (f"{_OUTAGES}.test_for_good",),
    "B9": (f"{_ENDS}.test_truncation",),
    "B10": (f"{_STREAM}.test_end", f"{_ENDS}.test_last_answers_lost"),
    "B11": (f"{_ENDS}.test_early_end_of_input",),
    "B12": (f"{_ENDS}.test_writes_before_it_reads",),
    "B13": (f"{_PACE}.test_sizes",),
    "B14": (f"{_ENDS}.test_signal",),
    "B15": (f"{_PACE}.test_slow_reader",),
    "B16": (f"{_STREAM}.test_moves",),
    "B17": (f"{_OUTAGES}.test_restart",),
    "B18": (f"{_PACE}.test_silence",),
}
"""Tests that try the reference at both ends, for comparison."""
