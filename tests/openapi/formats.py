"""Values for formats whose validity schemathesis cannot know: they depend on the clock or on tables elsewhere."""

from datetime import datetime, timedelta, timezone
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st

NOW = datetime.now(timezone.utc)
ZONES = ["Asia/Bangkok", "Asia/Tokyo", "Europe/London", "America/New_York", "Pacific/Auckland", "UTC"]


def instants():
    """Times that an entry may have: at most 7 years old and not in the future."""
    seconds = st.integers(min_value=0, max_value=6 * 365 * 86_400)
    return seconds.map(lambda age: (NOW - timedelta(seconds=age)).isoformat())


def past_days():
    """Days that may be queried: none is after tomorrow."""
    return st.integers(min_value=0, max_value=10 * 365).map(lambda age: (NOW - timedelta(days=age)).date())


def mobile_numbers():
    """Thai mobile numbers of 08 and 09 in three notations."""
    digits = st.from_regex(r"[89][0-9]{8}", fullmatch=True)
    return st.one_of(
        digits.map(lambda number: f"0{number}"),
        digits.map(lambda number: f"+66{number}"),
        digits.map(lambda number: f"0{number[:2]}-{number[2:5]}-{number[5:]}"),
    )


def visible_names():
    """Names with visible characters, in several scripts."""
    letters = st.sampled_from("กขคงจชดตนบปมยรลวสหอ" "abcdefghijklmnopqrstuvwxyzÉñ" "山田" "0123456789")
    others = st.sampled_from("ะาิีุูเแโ่้ ' -.😀")
    return st.tuples(letters, st.text(st.one_of(letters, others), max_size=60)).map("".join)


schemathesis.openapi.format("date-time", instants())
schemathesis.openapi.format("past-date", past_days().map(lambda day: day.isoformat()))
schemathesis.openapi.format("past-month", past_days().map(lambda day: day.isoformat()[:7]))
schemathesis.openapi.format("thai-mobile-number", mobile_numbers())
schemathesis.openapi.format("visible-name", visible_names())
schemathesis.openapi.format("country-calling-code", st.sampled_from(["66", "+66", "0066", "TH"]))
schemathesis.openapi.format("sign-in-code", st.from_regex(r"[0-9]{3}[ -]?[0-9]{3}", fullmatch=True))
schemathesis.openapi.format("iana-time-zone", st.sampled_from(ZONES))
# A key of an earlier call would make this one a conflict or a replay.
schemathesis.openapi.format("idempotency-key", st.builds(lambda: str(uuid4())))
