"""The model test: any course of events, and what must hold all the time.

Hypothesis makes up the events: what networks do to packets, what attackers send,
what applications ask for, and when. Virtual time lets a minute pass in a
millisecond. After each event, and after the last one, a few rules are checked:

* delivered bytes are the first of the bytes sent, in each direction;
* an end that counts as clean means that both streams are complete, and with a
  network that works both ends are clean;
* nobody gives up a peer that was heard, and nobody waits for ever;
* no nonce is used twice under a key, not even by a server that was restarted;
* nobody who has not answered gets more than three times the bytes that came in
  his name;
* a short-term key starts one protocol at the most, whatever is replayed;
* applications are called in the order that Twisted promises;
* nothing is logged as an error but what an application has raised;
* in the end nothing is left: no timer, no session, no port, no object.

The modules, from the bottom up: ``judge`` collects what goes against a rule,
``boxes`` and ``amplification`` hold two of the rules, ``hosts`` and ``network``
are the stage, ``actions`` and ``applications`` what lives on it, ``pairs`` has the
rules about two ends, and ``world`` puts it together: ``duo`` for two hosts, ``town``
for many. ``test_two_endpoints`` and ``test_many_clients`` let Hypothesis play (more,
with ``HYPOTHESIS_PROFILE=search``); ``test_regressions`` tells the stories that it has
found; ``test_judgement`` shows that each rule finds its breach.
"""
