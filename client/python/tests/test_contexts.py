"""Which server is meant: the same answers as the command gives."""

import os
import tempfile
import unittest
from pathlib import Path

from banger_client import EndpointError, resolve
from banger_client._files import may_own


class Contexts(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        home = Path(self._dir.name)
        (home / ".config/banger").mkdir(parents=True)
        self.token = home / "token"
        self.token.write_text("\ufefffrom-a-file\n")
        self.token.chmod(0o600)
        self.config = home / ".config/banger/config.toml"
        self.config.write_text(
            f"""current = "lab"
[contexts.lab]
server = "https://lab.example"
token_file = "{home / 'token'}"
[contexts.near]
server = "localhost:7171"
token = "secret"
[contexts.open]
server = "http://far.example"
token = "secret"
[contexts.allowed]
server = "http://far.example"
token = "secret"
insecure_plaintext = true
"""
        )
        self.config.chmod(0o600)
        self.env = {"HOME": str(home)}

    def test_the_current_context_is_meant_when_nothing_is_said(self) -> None:
        found = resolve(env=self.env)
        self.assertEqual((found.url, found.token), ("https://lab.example:7070", "from-a-file"))
        self.assertNotIn("from-a-file", repr(found))

    def test_a_server_named_by_hand_gets_no_token_of_a_context(self) -> None:
        by_environment = resolve(env={**self.env, "BANGER_SERVER": "other.example"})
        for found in (resolve("other.example", env=self.env), by_environment):
            self.assertEqual((found.url, found.token), ("https://other.example:7070", None))

    def test_a_context_named_by_hand_is_meant_and_what_is_said_beside_it_wins(self) -> None:
        near = resolve(env={**self.env, "BANGER_CONTEXT": "near"})
        self.assertEqual((near.url, near.token), ("http://localhost:7171", "secret"))
        mine = resolve(context="near", token=" mine ", env=self.env)
        self.assertEqual((mine.url, mine.token), ("http://localhost:7171", "mine"))

    def test_a_token_goes_in_plain_text_to_this_machine_only(self) -> None:
        with self.assertRaisesRegex(EndpointError, "plain text"):
            resolve(context="open", env=self.env)
        self.assertEqual(resolve(context="allowed", env=self.env).token, "secret")

    def test_without_a_file_it_is_the_default_server(self) -> None:
        for env in ({}, {"HOME": "/nowhere"}):
            self.assertEqual(resolve(env=env).url, "http://127.0.0.1:7070")

    def test_what_is_no_address_token_or_context_is_an_error_that_says_so(self) -> None:
        for text in ("", "http://", "ftp://x", "x:0", "x:99999", "x/path", "a@b", "x:"):
            with self.subTest(text), self.assertRaises(EndpointError):
                resolve(text, env={})
        for text, url in (
            ("[::1]:7", "http://[::1]:7"),
            ("HTTPS://h.example/", "https://h.example:7070"),
            ("127.0.0.2", "http://127.0.0.2:7070"),
        ):
            self.assertEqual(resolve(text, env={}).url, url)
        no_pem = self.token
        with self.assertRaisesRegex(EndpointError, "no token has"):
            resolve(token="two words", env={})
        with self.assertRaisesRegex(EndpointError, "allowed, lab, near, open"):
            resolve(context="elsewhere", env=self.env)
        with self.assertRaisesRegex(EndpointError, "no PEM certificate"):
            resolve(ca=no_pem, env={})

    def test_a_file_with_a_token_that_others_may_read_is_refused(self) -> None:
        for path in (self.token, self.config):
            for mode in (0o640, 0o604, 0o620, 0o601):
                path.chmod(mode)
                with self.assertRaisesRegex(EndpointError, f"{path} has mode {mode:o}; .*chmod 600"):
                    resolve(env=self.env)
            path.chmod(0o400)
            self.assertEqual(resolve(env=self.env).token, "from-a-file")

    def test_a_configuration_without_a_token_may_be_read_by_everybody(self) -> None:
        self.config.write_text(
            f"current = 'lab'\n[contexts.lab]\nserver = 'x'\ntoken_file = '{self.token}'\n"
        )
        self.config.chmod(0o644)
        self.assertEqual(resolve(env=self.env).token, "from-a-file")

    def test_a_file_with_a_token_of_another_user_is_refused_and_roots_is_not(self) -> None:
        self.assertTrue(may_own(0, 1000) and may_own(1000, 1000) and may_own(1000, 0))
        self.assertFalse(may_own(1001, 1000))

    def test_what_is_no_file_is_called_so_and_hangs_nobody(self) -> None:
        home = Path(self._dir.name)
        os.mkfifo(home / "fifo", 0o600)
        for path, word in ((home / "fifo", "FIFO"), (home, "directory"), ("/dev/null", "device")):
            said = f"{path} is a {word}, not a regular file"
            with self.assertRaisesRegex(EndpointError, said):
                resolve(token_file=path, env={})
            with self.assertRaisesRegex(EndpointError, said):
                resolve(ca=path, env={})
        self.config.unlink()
        os.mkfifo(self.config, 0o600)
        with self.assertRaisesRegex(EndpointError, "config.toml is a FIFO"):
            resolve(env=self.env)

    def test_a_file_without_an_end_is_not_read_to_it(self) -> None:
        with self.token.open("r+b") as file:
            file.truncate(1 << 40)
        with self.assertRaisesRegex(EndpointError, "too large"):
            resolve(env=self.env)


if __name__ == "__main__":
    unittest.main()
