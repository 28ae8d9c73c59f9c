"""What does the harm in the proof of faults does it, and undoes it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from proofs.faults import gate
from proofs.faults.gate import RUBBISH, Gate
from proofs.faults.names import CODES, Mode, NameServer

WELL = b"hello"
#: A question for the address of a.b, as RFC 1035 has it.
QUESTION = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\x01a\x01b\0" + struct.pack("!HH", 1, 1)


class TestGate:
    @pytest.fixture
    async def before(self) -> AsyncIterator[Gate]:
        """Before a server that sends back what it gets."""

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while block := await reader.read(100):
                writer.write(block)
            writer.close()

        async with (
            await asyncio.start_server(echo, "127.0.0.1", 0) as server,
            Gate.before(server.sockets[0].getsockname()[1]) as made,
        ):
            yield made

    async def ask(self, port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(WELL)
            return await reader.read(100)
        finally:
            writer.close()

    async def test_leads_to_its_server(self, before: Gate) -> None:
        assert await self.ask(before.port) == WELL
        assert before.misled == 0

    async def test_is_gone_and_comes_back_at_its_port(self, before: Gate) -> None:
        await before.set("gone")
        with pytest.raises(ConnectionRefusedError):
            await self.ask(before.port)
        await before.set("well")
        assert await self.ask(before.port) == WELL

    async def test_answers_rubbish(self, before: Gate) -> None:
        await before.set("rubbish")
        assert await self.ask(before.port) == RUBBISH
        assert before.misled == 1

    async def test_hangs_until_it_is_well(self, before: Gate) -> None:
        await before.set("hanging")
        asking = asyncio.create_task(self.ask(before.port))
        await asyncio.sleep(0.1)
        assert not asking.done()
        # What hung is ended, as a server's connections are that is started again.
        await before.set("well")
        assert await asking == b""
        assert await self.ask(before.port) == WELL

    async def test_is_slow(self, before: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gate, "DELAY_SECONDS", 0.1)
        await before.set("slow")
        began = asyncio.get_running_loop().time()
        assert await self.ask(before.port) == WELL
        assert asyncio.get_running_loop().time() - began >= 0.2


class TestNameServer:
    @pytest.mark.parametrize("mode", [*CODES, "is silent"])
    async def test_answers_by_its_mode(self, mode: Mode) -> None:
        loop = asyncio.get_running_loop()
        transport, names = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
        names.mode = mode
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setblocking(False)
            client.connect(transport.get_extra_info("sockname"))
            await loop.sock_sendall(client, QUESTION)
            try:
                async with asyncio.timeout(0.5 if mode == "is silent" else 60):
                    answer = await loop.sock_recv(client, 512)
            except TimeoutError:
                answer = b""
        transport.close()
        assert names.misled == (mode != "well")
        if mode == "is silent":
            assert answer == b""
            return
        number, flags, _, answers, _, _ = struct.unpack("!HHHHHH", answer[:12])
        assert (number, flags & 0xF, answers) == (7, CODES[mode], int(mode == "well"))
        assert answer.endswith(bytes((127, 0, 0, 1))) is (mode == "well")
