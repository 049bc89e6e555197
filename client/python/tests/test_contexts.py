"""Which server is meant: the same answers as the command gives."""

import tempfile
import unittest
from pathlib import Path

from banger_client import EndpointError, resolve


class Contexts(unittest.TestCase):
    def setUp(self) -> None:
        self._dir = tempfile.TemporaryDirectory()
        self.addCleanup(self._dir.cleanup)
        home = Path(self._dir.name)
        (home / ".config/banger").mkdir(parents=True)
        (home / "token").write_text("\ufefffrom-a-file\n")
        (home / ".config/banger/config.toml").write_text(
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
        no_pem = Path(self._dir.name) / "token"
        with self.assertRaisesRegex(EndpointError, "no token has"):
            resolve(token="two words", env={})
        with self.assertRaisesRegex(EndpointError, "allowed, lab, near, open"):
            resolve(context="elsewhere", env=self.env)
        with self.assertRaisesRegex(EndpointError, "no PEM certificate"):
            resolve(ca=no_pem, env={})


if __name__ == "__main__":
    unittest.main()
