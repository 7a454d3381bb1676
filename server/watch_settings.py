"""Settings of the watch, which notices misuse: a section of the server's configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from jukinet.core.watch.rules import OPERATOR_RULES, Thresholds, rules_named

DAY_SECONDS = 86_400.0
MEBIBYTE = 1 << 20


class Watch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Detection of misuse (docs/detection.md): rules on the stream of requests, alarms, and stopping operators."""

    directory: Annotated[
        str, Meta(description="Directory of the watch's state and of the alarms file. Empty: nothing is watched.")
    ] = ""
    stop_rules: Annotated[
        str,
        Meta(
            description="Rules, with spaces between them, whose alarm stops the operator: absent, check_digits, "
            "sequential, night, one_at_a_time."
        ),
    ] = ""
    batch_operators: Annotated[
        str,
        Meta(
            description="Operators that stand for batch systems, as BODY/OPERATOR with spaces between them; "
            "one_at_a_time leaves them alone."
        ),
    ] = ""
    half_life_minutes: Annotated[
        float, Meta(ge=0.1, le=100_000, description="After which a count of absent, sequential ... codes is halved.")
    ] = 60.0
    absent_codes_min: Annotated[
        float, Meta(ge=0, le=1e9, description="Rule absent: codes answered UNKNOWN. 0: off.")
    ] = 50.0
    absent_share_min: Annotated[float, Meta(ge=0, le=1, description="And their share of all codes asked.")] = 0.3
    check_digit_codes_min: Annotated[
        float, Meta(ge=0, le=1e9, description="Rule check_digits: codes with a wrong check digit or length. 0: off.")
    ] = 20.0
    check_digit_share_min: Annotated[float, Meta(ge=0, le=1, description="And their share of all codes asked.")] = 0.2
    sequential_codes_min: Annotated[
        float, Meta(ge=0, le=1e9, description="Rule sequential: codes close to the one asked before. 0: off.")
    ] = 30.0
    sequential_share_min: Annotated[float, Meta(ge=0, le=1, description="And their share of all codes asked.")] = 0.3
    sequential_gap: Annotated[
        int, Meta(ge=1, le=1_000_000, description="What counts as close, as a difference of 11-digit numbers.")
    ] = 30
    rate_codes_min: Annotated[
        float, Meta(ge=0, le=1e12, description="Rule rate: a body's codes within an hour. 0: off.")
    ] = 100_000.0
    rate_factor: Annotated[float, Meta(ge=1, le=1e6, description="And so many times what is usual at this hour.")] = (
        10.0
    )
    night_from: Annotated[
        int, Meta(ge=0, le=23, description="Rule night: the hour, in Japan, at which night begins.")
    ] = 22
    night_until: Annotated[
        int, Meta(ge=0, le=23, description="And at which it ends. Equal to night_from: the rule is off.")
    ] = 6
    first_use_days: Annotated[
        float,
        Meta(ge=0, le=36_500, description="Rule first_use: days without use, after which use is as the first. 0: off."),
    ] = 90.0
    affairs_min: Annotated[
        int, Meta(ge=0, le=64, description="Rule many_affairs: affairs that ask singly for one resident. 0: off.")
    ] = 5
    affairs_days: Annotated[float, Meta(ge=0.01, le=3_650, description="Within so many days.")] = 30.0
    persons_per_hour_min: Annotated[
        float, Meta(ge=0, le=1e9, description="Rule one_at_a_time: persons an operator asks for singly. 0: off.")
    ] = 120.0
    persons_factor: Annotated[float, Meta(ge=1, le=1e6, description="And so many times the operator's usual.")] = 3.0
    learning_days: Annotated[
        float, Meta(ge=0, le=3_650, description="Before rate, night and first_use know what is usual.")
    ] = 7.0
    repeat_hours: Annotated[
        float, Meta(ge=0.001, le=87_600, description="An alarm of one rule about one subject repeats after so long.")
    ] = 24.0
    poll_milliseconds: Annotated[
        int, Meta(ge=10, le=60_000, description="How often noted requests are worked off and stops are looked for.")
    ] = 100
    buffer_bytes: Annotated[
        int,
        Meta(
            ge=4_096,
            le=1 << 30,
            description="For requests that wait to be worked off, in a worker; twice so much is taken. A request takes "
            "56 bytes, and 8 for each code asked singly.",
        ),
    ] = 2 * MEBIBYTE

    @property
    def thresholds(self) -> Thresholds:
        """What the rules compare with, in seconds."""
        return Thresholds(
            half_life_seconds=self.half_life_minutes * 60,
            absent_codes_min=self.absent_codes_min,
            absent_share_min=self.absent_share_min,
            check_digit_codes_min=self.check_digit_codes_min,
            check_digit_share_min=self.check_digit_share_min,
            sequential_codes_min=self.sequential_codes_min,
            sequential_share_min=self.sequential_share_min,
            sequential_gap=self.sequential_gap,
            rate_codes_min=self.rate_codes_min,
            rate_factor=self.rate_factor,
            night_from=self.night_from,
            night_until=self.night_until,
            first_use_seconds=self.first_use_days * DAY_SECONDS,
            affairs_min=self.affairs_min,
            affairs_seconds=self.affairs_days * DAY_SECONDS,
            persons_per_hour_min=self.persons_per_hour_min,
            persons_factor=self.persons_factor,
            learning_seconds=self.learning_days * DAY_SECONDS,
            repeat_seconds=self.repeat_hours * 3_600,
        )

    @property
    def stop_rules_are_wrong(self) -> bool:
        """Whether stop_rules names something that is no rule about an operator."""
        try:
            return not rules_named(self.stop_rules) <= OPERATOR_RULES
        except ValueError:
            return True
