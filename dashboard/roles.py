"""Who looks: their name and role, by OIDC where there is a provider, else whoever sits at this machine.

What a role may is decided in `stores.act` and `ledger.actions`, when something is asked for; a page asks here only to
show no button that would be refused.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.secrets import secrets_singleton

from components.errors import RecipeError
from components.ledger.actions import Actor, at_this_machine
from components.ledger.keys import ROLES
from components.ledger.schema import Role


def has_provider() -> bool:
    """Whether there is somebody to ask who people are."""
    return secrets_singleton.load_if_toml_exists() and "auth" in st.secrets


def refuse_open_binding() -> None:
    """Off loopback nothing is shown without a provider.

    Raises:
        RecipeError: the address is reachable from other machines, and nobody is asked who they are.
    """
    address = str(st.get_option("server.address") or "0.0.0.0")  # noqa: S104  # Streamlit's own default
    if not is_loopback(address) and not has_provider():
        raise RecipeError(
            f"the dashboard would serve {address} to whoever reaches it",
            "bind it to 127.0.0.1, or name an OIDC provider in BANYAN_DASHBOARD_SECRETS (docs/guide/dashboard.md)",
        )


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def visitor() -> Actor | None:
    """Who looks; None: there is a provider, and they have not said yet, or are in no role.

    Raises:
        RecipeError: the roles in the secrets are not what they should be.
    """
    if not has_provider():
        return at_this_machine()
    if not st.user.is_logged_in:
        return None
    role = role_of(st.user.to_dict(), st.secrets.get("roles", {}))
    name = name_of(st.user.to_dict())
    return Actor(name, role, subject=name[:200]) if role else None


def is_signed_in() -> bool:
    return has_provider() and bool(st.user.is_logged_in)


def name_of(claims: Mapping[str, Any]) -> str:
    """As it stands in the ledger: the e-mail address where the provider has checked it, else the subject."""
    email = claims.get("email")
    return str(email) if email and claims.get("email_verified", True) else str(claims.get("sub") or "unknown")


def role_of(claims: Mapping[str, Any], rules: Mapping[str, Any]) -> Role | None:
    """The highest role that a person's claims give; the rules' `default` where none does, and None without one.

    Args:
        rules: `claim`, by default `email`, and per role the values of it that have the role.

    Raises:
        RecipeError: a rule names a role that there is none of, or is not a list.
    """
    unknown = set(rules) - {"claim", "default", *ROLES}
    if unknown or rules.get("default", "viewer") not in ("", *ROLES):
        wrong = ", ".join(sorted(unknown)) or rules.get("default")
        raise RecipeError(f"[roles] in the dashboard's secrets: {wrong} is no role", f"roles are {', '.join(ROLES)}")
    claim = str(rules.get("claim", "email"))
    held = claims.get(claim)
    if claim == "email" and not claims.get("email_verified", True):
        held = None  # anybody can write any address into an account
    mine = {str(one) for one in (held if isinstance(held, Sequence) and not isinstance(held, str) else [held]) if one}
    for role in reversed(ROLES):
        members = rules.get(role, [])
        if isinstance(members, str):
            raise RecipeError(f"[roles] in the dashboard's secrets: {role} is one text", f'{role} = ["{members}"]')
        if mine & {str(one) for one in members}:
            return role
    default: Role | str = rules.get("default", "")
    return default or None  # type: ignore[return-value]
