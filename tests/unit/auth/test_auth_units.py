"""Keys, passwords and the access table, without a database."""

from __future__ import annotations

import re
import string
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth import api_keys, passwords
from shared.auth.access import ACCESS, ROLES, Access, admits_role, admits_scopes
from tests.fakes.secret_scanner import find_keys
from tests.fakes.threads import at_once

BASE62 = string.digits + string.ascii_letters


class TestApiKeys:
    @pytest.mark.parametrize("environment", ["local", "dev", "staging", "prod"])
    def test_a_key_has_the_published_layout(self, environment: str) -> None:
        key = api_keys.generate_key(environment)
        assert re.fullmatch(rf"dv_{environment}_[0-9A-Za-z]{{36}}", key)
        assert api_keys.is_well_formed(key)
        assert key.startswith(api_keys.visible_prefix(key))
        assert len(api_keys.visible_prefix(key)) <= len(f"dv_{environment}_") + 4

    def test_keys_do_not_repeat(self) -> None:
        assert len({api_keys.generate_key("local") for _ in range(500)}) == 500

    @given(st.integers(0, 44), st.sampled_from(BASE62 + "_-é "))
    def test_one_wrong_character_is_noticed(self, place: int, character: str) -> None:
        key = api_keys.generate_key("local")
        mistyped = key[:place] + character + key[place + 1 :]
        assert api_keys.is_well_formed(mistyped) is (mistyped == key)

    @given(st.integers(9, 43))
    def test_two_swapped_characters_are_noticed(self, place: int) -> None:
        key = api_keys.generate_key("local")
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert api_keys.is_well_formed(swapped) is (swapped == key)

    @given(st.text(max_size=60))
    def test_other_text_is_no_key(self, text: str) -> None:
        assert not api_keys.is_well_formed(text)
        assert not api_keys.is_well_formed(api_keys.PREFIX + text)


class TestSecretScanning:
    """The pattern that secret scanners are given."""

    @pytest.mark.parametrize("environment", ["local", "dev", "staging", "prod"])
    @pytest.mark.parametrize(
        "around", ["{}", "Bearer {}", 'key = "{}"', "a,{},b", "https://x/?k={}", "({})", "\n{}\n"]
    )
    def test_every_key_is_found_wherever_it_stands(self, environment: str, around: str) -> None:
        for _ in range(50):
            key = api_keys.generate_key(environment)
            assert list(find_keys(around.format(key))) == [key]
            assert re.findall(api_keys.KEY_PATTERN, around.format(key)) == [key]

    @pytest.mark.parametrize(
        "text",
        [
            "dv_local_", "dv_local_abcd", "dv_local_U0Mu", "dv_test_" + "a" * 36,
            "key_" + "0" * 32, "usr_" + "f" * 32, "sk-" + "a" * 48, "ghp_" + "a" * 36,
            "whsec_" + "A" * 44, "DV_LOCAL_" + "a" * 36, "dv_local_" + "a" * 35,
            "dv_local_" + "a" * 37, "xdv_local_" + "a" * 36, "dv_local_" + "a" * 36 + "_b",
            "dv_local_" + "é" * 36, "dv-local-" + "a" * 36,
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        ],
    )  # fmt: skip
    def test_nothing_else_matches(self, text: str) -> None:
        assert re.search(api_keys.KEY_PATTERN, text) is None
        assert not list(find_keys(text))

    def test_a_lookalike_fails_by_its_checksum(self) -> None:
        lookalike = "dv_prod_" + "a" * 36
        assert re.search(api_keys.KEY_PATTERN, lookalike)
        assert not list(find_keys(lookalike))


class TestPasswordRules:
    """ASVS 5.0, 6.2."""

    @pytest.mark.parametrize(
        ("password", "fault"),
        [
            ("", "8 characters"), ("1234567", "8 characters"), ("é" * 7, "8 characters"),
            ("x" * 1_025, "1024 bytes"), ("é" * 513, "1024 bytes"), ("\ud800" * 8, "1024 bytes"),
            ("password", "common"), ("PASSWORD1", "common"), ("qwertyuiop", "common"),
            ("ada@example.com", "e-mail"), (" Ada@Example.com"[1:], "e-mail"),
            ("lovelace-ada", "e-mail"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, password: str, fault: str) -> None:
        email = "lovelace-ada@example.com" if password == "lovelace-ada" else "ada@example.com"
        assert fault in str(passwords.password_fault(password, email))

    @pytest.mark.parametrize(
        "password",
        ["x" * 7 + "y", "x" * 64, "x" * 1_024, "é" * 512, "        ", "only lower case words",
         "\N{BALLOON}" * 8, "ada@example.com!", "password of ada"],
    )  # fmt: skip
    def test_what_is_taken(self, password: str) -> None:
        assert passwords.password_fault(password, "ada@example.com") is None

    def test_the_3000_most_common_ones_are_refused_in_any_case(self) -> None:
        common = passwords.common_passwords()
        assert len(common) == len(set(common)) >= 3_000
        assert common[:3] == ("password", "12345678", "123456789")
        for password in common[:3_000]:
            assert passwords.password_fault(password, "a@b")
            assert passwords.password_fault(password.upper(), "a@b")


class TestPasswords:
    def test_a_hash_is_argon2id_with_the_promised_cost(self) -> None:
        assert passwords.hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    @pytest.mark.parametrize("password", ["x", "pässwörd 🎈", "x" * 1_000, "NUL \x00 inside"])
    def test_only_the_same_password_fits(self, password: str) -> None:
        stored = passwords.hash_password(password)
        assert passwords.verify_password(stored, password)
        assert not passwords.verify_password(stored, password + " ")
        assert not passwords.verify_password(stored, password.upper() + "!")

    def test_few_hashes_are_in_work_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        lock, working, most = threading.Lock(), 0, 0

        class Slow:
            def verify(self, _stored: str, _password: str) -> bool:
                nonlocal working, most
                with lock:
                    working += 1
                    most = max(most, working)
                time.sleep(0.01)
                with lock:
                    working -= 1
                return True

        monkeypatch.setattr(passwords, "_hasher", Slow)
        assert all(at_once(24, lambda n: passwords.verify_password("stored", str(n))))
        assert 1 < most <= 4

    def test_nobodys_password_fits_nothing(self) -> None:
        assert not passwords.verify_password(None, "")

    def test_what_nobody_is_compared_with_costs_as_much_as_a_users_hash(self) -> None:
        assert not passwords.needs_rehash(passwords.DUMMY_HASH)

    @pytest.mark.parametrize("password", ["x" * 1_025, "é" * 600, "\ud800 half a character"])
    def test_a_password_that_none_can_have_fits_nothing(self, password: str) -> None:
        stored = passwords.hash_password("")
        assert not passwords.verify_password(stored, password)

    @pytest.mark.parametrize("stored", ["", "nonsense", "$argon2id$v=19$broken", "$2b$12$x"])
    def test_a_broken_hash_fits_nothing(self, stored: str) -> None:
        assert not passwords.verify_password(stored, "x")

    def test_weaker_hashes_are_due_for_renewal(self) -> None:
        from argon2 import PasswordHasher

        weak = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("x")
        assert passwords.needs_rehash(weak)
        assert not passwords.needs_rehash(passwords.hash_password("x"))


class TestAccess:
    def test_roles_include_the_ones_below(self) -> None:
        for index, least in enumerate(ROLES):
            admitted = [role for role in ROLES if admits_role(Access(least, None), role)]
            assert admitted == list(ROLES[index:])

    def test_nobody_is_admitted_by_default(self) -> None:
        nothing = Access(None, None)
        assert not any(admits_role(nothing, role) for role in ROLES)
        assert not admits_scopes(nothing, frozenset({"read", "manage", "None"}))

    def test_a_scope_grants_itself_only(self) -> None:
        assert admits_scopes(Access(None, "read"), frozenset({"chat", "read"}))
        assert not admits_scopes(Access(None, "read"), frozenset({"manage", "chat"}))

    def test_what_is_public_needs_nothing_else(self) -> None:
        for access in ACCESS.values():
            if access.public:
                assert access.role is None and access.scope is None and not access.scrape
