"""Keys, passwords and the access table, without a database."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.auth import api_keys, passwords
from shared.auth.access import ACCESS, ROLES, Access, admits_role, admits_scopes

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


class TestPasswords:
    def test_a_hash_is_argon2id_with_the_promised_cost(self) -> None:
        assert passwords.hash_password("x").startswith("$argon2id$v=19$m=19456,t=2,p=1$")

    @pytest.mark.parametrize("password", ["x", "pässwörd 🎈", "x" * 1_000, "NUL \x00 inside"])
    def test_only_the_same_password_fits(self, password: str) -> None:
        stored = passwords.hash_password(password)
        assert passwords.verify_password(stored, password)
        assert not passwords.verify_password(stored, password + " ")
        assert not passwords.verify_password(stored, password.upper() + "!")

    def test_nobodys_password_fits_nothing(self) -> None:
        assert not passwords.verify_password(None, "no user has this password")

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
