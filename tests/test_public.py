"""Tests for the public names and the interfaces behind them."""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil

from twisted.internet import reactor
from twisted.internet.interfaces import IAddress, IListeningPort, IReadDescriptor
from twisted.internet.task import Clock
from twisted.logger import ILogObserver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementedBy
from zope.interface.interfaces import IInterface
from zope.interface.verify import verifyClass, verifyObject

import curvecp_tx
from curvecp_tx.address import CurveCPAddress
from curvecp_tx.commands.console import LineObserver
from curvecp_tx.interfaces import (
    IClientPolicy,
    IDatagramBatchTransport,
    IMessageProtocol,
    IMessageProtocolFactory,
    IMessageTransport,
)
from curvecp_tx.net.child import HandlerProgram, HandlerProgramFactory
from curvecp_tx.net.dialer import ClientConnection, MessageDialer
from curvecp_tx.net.endpoints import MessagePort
from curvecp_tx.net.keydir import Identity
from curvecp_tx.net.listener import AdmitEverybody, MessageListener
from curvecp_tx.net.pipes import MessageReader, open_pipe
from curvecp_tx.net.report import Report
from curvecp_tx.net.transport import MessageTransport
from curvecp_tx.net.udp import DatagramPort, open_socket
from curvecp_tx.secure.counters import Counters
from tests.commands.running import run_python


class PublicNamesTests(SynchronousTestCase):
    """Tests for ``import curvecp_tx``."""

    def test_all_resolves(self) -> None:
        """Every name in ``__all__`` is there, and named as where it was made."""
        for name in curvecp_tx.__all__:
            value = getattr(curvecp_tx, name)
            if name != "__version__":
                self.assertEqual(value.__name__, name)

    def test_all_is_complete(self) -> None:
        """The names that can be had and the names that are listed are the same."""
        homes = curvecp_tx._HOMES
        self.assertEqual({*homes, "__version__"}, set(curvecp_tx.__all__))
        self.assertEqual(sorted(curvecp_tx.__all__), curvecp_tx.__all__)
        for name, home in homes.items():
            found = getattr(importlib.import_module(home), name)
            self.assertIs(getattr(curvecp_tx, name), found)

    def test_known_to_type_checkers(self) -> None:
        """Type checkers, which run no code, are told the same homes."""
        source = inspect.getsource(curvecp_tx)
        block = source.split("if TYPE_CHECKING:")[1].split("__all__")[0]
        words = set(block.replace(",", " ").replace("(", " ").split())
        self.assertEqual(set(curvecp_tx._HOMES) - words, set())
        self.assertEqual(set(curvecp_tx._HOMES.values()) - words, set())

    def test_star(self) -> None:
        """``from curvecp_tx import *`` gives them all."""
        names: dict[str, object] = {}
        exec("from curvecp_tx import *", names)  # noqa: S102 - what users may write
        self.assertEqual(set(curvecp_tx.__all__) - set(names), set())

    def test_dir(self) -> None:
        """``dir`` lists them all before anything is loaded."""
        script = "import curvecp_tx; print(*dir(curvecp_tx))"
        finished = run_python("-c", script)
        listed = finished.out.split()
        self.assertEqual(set(curvecp_tx.__all__) - set(listed), set())
        self.assertEqual(sorted(set(listed)), listed)

    def test_unknown_name(self) -> None:
        """A name that does not exist is an ``AttributeError`` that tells it."""
        error = self.assertRaises(AttributeError, getattr, curvecp_tx, "nothing")
        self.assertEqual(str(error), "module 'curvecp_tx' has no attribute 'nothing'")
        self.assertFalse(hasattr(curvecp_tx, "__wrapped__"))
        with self.assertRaises(ImportError):
            exec("from curvecp_tx import nothing")  # noqa: S102

    def test_starts_light(self) -> None:
        """The import alone, and the key part, load no Twisted."""
        for script in (
            "import curvecp_tx",
            "from curvecp_tx import KeyDirectory, make_key_directory, Identity",
            "from curvecp_tx import __version__, Counters",
        ):
            check = (
                f"{script}; import sys;"
                "print([name for name in sys.modules if name.startswith('twisted')])"
            )
            finished = run_python("-c", check)
            self.assertEqual((finished.out, finished.err), ("[]\n", ""), script)

    def test_every_module_imports(self) -> None:
        """Each module can be imported first, whatever the others need."""
        path = os.path.dirname(inspect.getfile(curvecp_tx))
        names = [m.name for m in pkgutil.walk_packages([path], "curvecp_tx.")]
        self.assertGreater(len(names), 20)
        script = (
            "import importlib, sys\n"
            "for name in sys.argv[1:]:\n"
            "    for loaded in list(sys.modules):\n"
            "        if loaded.startswith('curvecp_tx'):\n"
            "            del sys.modules[loaded]\n"
            "    importlib.import_module(name)\n"
        )
        finished = run_python("-c", script, *names)
        self.assertEqual((finished.code, finished.err), (0, ""))


class InterfaceTests(SynchronousTestCase):
    """Each implementer of an interface keeps all of it."""

    def setUp(self) -> None:
        """Make the objects that others need."""
        self.factory = HandlerProgramFactory(
            reactor,  # type: ignore[arg-type]
            ["true"],
        )
        self.listener = MessageListener(
            Clock(), self.factory, identity=Identity.ephemeral(), name="name"
        )

    def make_port(self) -> DatagramPort:
        """Bind a port that is never served."""
        port = DatagramPort(
            reactor,
            self.listener,
            open_socket("127.0.0.1", 0),
            Counters(),
        )
        self.addCleanup(port.stopListening)
        return port

    def test_address(self) -> None:
        """An address is one."""
        self.assertTrue(verifyObject(IAddress, CurveCPAddress(b"k" * 32, None)))

    def test_programs(self) -> None:
        """Programs are message protocols, and what starts them a factory."""
        self.assertTrue(verifyObject(IMessageProtocolFactory, self.factory))
        program = self.factory.buildProtocol(CurveCPAddress(b"k" * 32, None))
        self.assertIsInstance(program, HandlerProgram)
        self.assertTrue(verifyObject(IMessageProtocol, program))

    def test_transports(self) -> None:
        """Both ends' connections are message transports."""
        dialer = MessageDialer(
            Clock(),
            self.factory,
            identity=Identity.ephemeral(),
            serverKey=Identity.ephemeral().keys.public,
            serverName="name",
            addresses=[("127.0.0.1", 1)],
        )
        self.assertTrue(verifyObject(IMessageTransport, ClientConnection(dialer)))
        transport = MessageTransport(Clock(), Report(), Counters())
        self.assertTrue(verifyObject(IMessageTransport, transport))
        for subclass in MessageTransport.__subclasses__():
            self.assertTrue(verifyClass(IMessageTransport, subclass), subclass)

    def test_policy(self) -> None:
        """The default policy is one, and lets everybody in."""
        policy = AdmitEverybody()
        self.assertTrue(verifyObject(IClientPolicy, policy))
        self.assertIs(policy.admit(CurveCPAddress(bytes(32), None)), True)

    def test_ports(self) -> None:
        """A port can be listened on, read from, and sent through in batches."""
        port = self.make_port()
        for interface in (IListeningPort, IReadDescriptor, IDatagramBatchTransport):
            self.assertTrue(verifyObject(interface, port))
        self.assertTrue(verifyObject(IListeningPort, MessagePort(port, self.listener)))

    def test_reader(self) -> None:
        """A message reader is a descriptor that the reactor can watch."""
        theirs, ours = open_pipe()
        self.addCleanup(os.close, ours)
        reader = MessageReader(
            reactor,
            theirs,
            lambda messages: None,
            lambda problem: None,
        )
        self.addCleanup(reader.close)
        self.assertTrue(verifyObject(IReadDescriptor, reader))

    def test_observer(self) -> None:
        """What writes the log is a log observer."""
        self.assertTrue(verifyObject(ILogObserver, LineObserver("name")))

    def test_every_class(self) -> None:
        """Each class of the package that declares an interface has its methods."""
        path = os.path.dirname(inspect.getfile(curvecp_tx))
        verified = 0
        for module in pkgutil.walk_packages([path], "curvecp_tx."):
            loaded = importlib.import_module(module.name)
            for _, found in inspect.getmembers(loaded, inspect.isclass):
                if found.__module__ != module.name or IInterface.providedBy(found):
                    continue
                for interface in implementedBy(found):
                    if interface.__module__.startswith(("curvecp_tx", "twisted")):
                        self.assertTrue(verifyClass(interface, found), found)
                        verified += 1
        self.assertGreater(verified, 10)
