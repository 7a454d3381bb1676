"""The server's settings: one declaration, from which the check on load and, in settings_page.py, the texts follow.

A configuration file is TOML. Unknown keys, wrong types and values out of range are refused; so are values that
contradict one another (``Configuration.contradictions``). Paths that are not absolute are taken from the file's own
directory.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from jukinet.core import limits
from jukinet.core.errors import ConfigurationError
from jukinet.core.feed import retention_run
from jukinet.server.boundary_settings import Boundary
from jukinet.server.law_settings import Authority, Operators
from jukinet.server.port_settings import OWN_PORTS, Administration, Port, PortNumber, Witness
from jukinet.server.selfcheck_settings import Selfcheck
from jukinet.server.watch_settings import Watch

MEBIBYTE: Final = 1 << 20
KIBIBYTE: Final = 1 << 10


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the query port listens and how many worker processes share it."""

    address: Annotated[
        str, Meta(min_length=1, max_length=255, description="Address to listen on: IPv4 or IPv6, as a number.")
    ] = "127.0.0.1"
    port: PortNumber = 7_700
    workers: Annotated[
        int,
        Meta(
            ge=0,
            le=limits.WORKERS_MAX - 1,
            description="Query worker processes that share the port. 0: one for each CPU.",
        ),
    ] = 1
    backlog: Annotated[
        int, Meta(ge=1, le=65_535, description="Connections that the kernel may hold before a worker accepts them.")
    ] = 1_024


class Register(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The register that is served."""

    store: Annotated[str, Meta(min_length=1, description="Directory of the register.")]
    refresh_milliseconds: Annotated[
        int, Meta(ge=1, le=1_000, description="How often a worker looks for a newer version of the register.")
    ] = 5
    warm: Annotated[
        bool,
        Meta(description="Read the whole register into memory before serving; without it the first answers are slow."),
    ] = True
    lock_in_memory: Annotated[
        bool,
        Meta(
            description="Keep the register in memory (mlock) once it is warm, so that the kernel does not take pages "
            "that are seldom read. Needs RLIMIT_MEMLOCK above the register's size; without it the log says so and the "
            "server goes on."
        ),
    ] = False


class Tls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Certificates. All are PEM files and are read again on SIGHUP."""

    certificate: Annotated[str, Meta(min_length=1, description="The server's certificate and its chain.")]
    key: Annotated[str, Meta(min_length=1, description="The server's private key, not encrypted.")]
    roots: Annotated[str, Meta(min_length=1, description="Roots that callers' certificates must lead to.")]
    revocation_list: Annotated[
        str, Meta(description="Revocation lists of the callers' authorities. Empty: revocation is not checked.")
    ] = ""


class Feed(Port, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The feed port, on which the prefectures notify changes. Certificates are PEM files and read again on SIGHUP."""

    enabled: Annotated[
        bool, Meta(description="Take notifications: one process opens the register for writing. No other may.")
    ] = False
    port: PortNumber = 7_701
    transaction_notifications_max: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Notifications after which a transaction is committed; a batch is whole."),
    ] = 10_000
    transaction_milliseconds_max: Annotated[
        int, Meta(ge=1, le=60_000, description="Time after which a transaction takes no further batch.")
    ] = 500
    gather_milliseconds: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="A transaction waits for further batches until it is so old: fewer commits of many small ones.",
        ),
    ] = 20
    batch_bytes_max: Annotated[
        int,
        Meta(ge=limits.CONTROL_BYTES_MAX, le=limits.BATCH_BYTES_MAX, description="Payload of one batch or range."),
    ] = limits.BATCH_BYTES_MAX
    queued_bytes_max: Annotated[
        int,
        Meta(
            ge=limits.CONTROL_BYTES_MAX,
            le=1 << 34,
            description="Batches of one feed that are not committed yet; above it nothing more is read from it.",
        ),
    ] = 64 * MEBIBYTE
    queued_bytes_total_max: Annotated[
        int,
        Meta(
            ge=limits.CONTROL_BYTES_MAX,
            le=1 << 38,
            description="The same of all feeds together; above it only a feed that has nothing waiting is read.",
        ),
    ] = 512 * MEBIBYTE
    requests_in_flight_max: Annotated[
        int, Meta(ge=1, le=limits.FEED_REQUESTS_IN_FLIGHT_MAX, description="Requests under way on one connection.")
    ] = limits.FEED_REQUESTS_IN_FLIGHT_MAX
    takeover_seconds: Annotated[
        float,
        Meta(ge=0.1, le=300, description="Silence after which another connection of the same feed takes its place."),
    ] = 5.0
    idle_seconds: Annotated[
        float, Meta(ge=1, le=limits.IDLE_SECONDS_MAX, description="For the next request of a feed with none under way.")
    ] = 600.0
    retry_seconds: Annotated[
        float, Meta(ge=0.05, le=3_600, description="What a feed is told to wait when the register cannot be written.")
    ] = 1.0


class Retention(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long records are kept and provided (docs/retention.md)."""

    rule: Annotated[
        Literal["five-years", "150-years"],
        Meta(description="The rule of Order 30-11: the one of 2002, or the one in force since 20 June 2019."),
    ] = "150-years"
    at: Annotated[
        str,
        Meta(
            pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
            description="When the feed writer purges each day, HH:MM in Japan. Empty: it never does.",
        ),
    ] = "02:00"
    journal_days: Annotated[
        int,
        Meta(
            ge=retention_run.JOURNAL_DAYS_MIN,
            le=retention_run.JOURNAL_DAYS_MAX,
            description="Days for which the journal and the quarantine of the feeds are kept.",
        ),
    ] = 400


class Notices(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Move-in notices (転入通知) that prefectures leave for one another (docs/move-in-notices.md)."""

    alarm_hours: Annotated[
        float,
        Meta(
            ge=0.0001, le=8_760, description="A notice that was not received by then is overdue: it is to go on paper."
        ),
    ] = 24.0
    retention_days: Annotated[
        int, Meta(ge=0, le=3_650, description="Days after its receipt on which a notice's content is deleted.")
    ] = 30
    receipt_days: Annotated[
        int,
        Meta(ge=0, le=10_950, description="Days after which the receipt, which names nobody, is deleted as well."),
    ] = 1_095
    open_per_feed_max: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Notices left by one prefecture that were not received yet.")
    ] = limits.OPEN_NOTICES_PER_FEED_MAX

    @property
    def alarm_seconds(self) -> float:
        """alarm_hours in seconds."""
        return self.alarm_hours * 3_600


class RecordOfUse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of use, without which nothing is provided."""

    directory: Annotated[
        str, Meta(min_length=1, description="Directory of the segments. One server at a time may use it.")
    ]
    segment_bytes_max: Annotated[
        int, Meta(ge=MEBIBYTE, le=1 << 40, description="Size at which a worker begins a new segment.")
    ] = limits.SEGMENT_BYTES_MAX
    segment_seconds_max: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="Age at which a worker begins a new segment. Only closed segments are sealed.",
        ),
    ] = limits.SEGMENT_SECONDS_MAX
    segment_step_bytes: Annotated[
        int, Meta(ge=0, le=1 << 30, description="Room that is reserved on disk at a time.")
    ] = limits.SEGMENT_STEP_BYTES
    free_bytes_min: Annotated[
        int,
        Meta(ge=0, le=1 << 40, description="With less room than this left on its file system, nothing is provided."),
    ] = limits.FREE_BYTES_MIN
    retry_seconds: Annotated[
        float, Meta(ge=0.05, le=3_600, description="Wait before the record of use is tried again after it failed.")
    ] = 1.0
    commit_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="For the disk to take the record of use. A disk that takes longer hangs: what waits for it is "
            "refused, and nothing is provided until it answers.",
        ),
    ] = 10.0


class Sealing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The sealer, which makes the record of use prove itself (docs/record-of-use.md, chapters 7 to 14)."""

    key: Annotated[
        str,
        Meta(
            description="File of the private key that signs checkpoints (`jukinet audit key`). Empty: nothing is "
            "sealed."
        ),
    ] = ""
    poll_seconds: Annotated[
        float, Meta(ge=0.05, le=3_600, description="How often the sealer looks for a segment that was closed.")
    ] = 1.0
    retry_seconds: Annotated[
        float,
        Meta(ge=0.05, le=3_600, description="Wait after sealing failed or was stopped, before it is tried again."),
    ] = 10.0
    retention_years: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="Years for which the content of the record of use is kept; then it is deleted month by month. "
            "0: it never is.",
        ),
    ] = limits.RECORD_RETENTION_YEARS


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lengths, counts and rates. What is said of a body holds for the whole server, the rest for each worker."""

    connections_max: Annotated[int, Meta(ge=1, le=100_000, description="Connections of a worker.")] = 4_096
    connections_per_body_max: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Connections of one body to the server; the authority file may set fewer."),
    ] = 512
    handshakes_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="TLS handshakes under way in a worker. One more ends the one that has waited longest.",
        ),
    ] = 128
    sessions_per_connection_max: Annotated[
        int, Meta(ge=1, le=1_024, description="Affair sessions open on one connection.")
    ] = limits.SESSIONS_PER_CONNECTION_MAX
    requests_in_flight_max: Annotated[
        int, Meta(ge=1, le=1_024, description="Requests under way on one connection.")
    ] = limits.REQUESTS_IN_FLIGHT_MAX
    codes_per_request_max: Annotated[
        int,
        Meta(
            ge=1,
            le=limits.CODES_PER_REQUEST_MAX,
            description="Codes in one request; the authority file may set fewer for an affair.",
        ),
    ] = limits.CODES_PER_REQUEST_MAX
    request_bytes_max: Annotated[
        int, Meta(ge=limits.CONTROL_BYTES_MAX, le=limits.REQUEST_BYTES_MAX, description="Payload of one request.")
    ] = 32 * MEBIBYTE
    queued_bytes_per_connection_max: Annotated[
        int,
        Meta(
            ge=limits.CONTROL_BYTES_MAX, le=1 << 34, description="Requests of one connection that wait for their turn."
        ),
    ] = 32 * MEBIBYTE
    queued_bytes_max: Annotated[
        int,
        Meta(ge=limits.CONTROL_BYTES_MAX, le=1 << 40, description="Requests that wait for their turn, in a worker."),
    ] = 512 * MEBIBYTE
    unsent_bytes_per_connection_max: Annotated[
        int,
        Meta(
            ge=4 * KIBIBYTE,
            le=1 << 34,
            description="Answers that a connection has not taken yet; above it its requests wait.",
        ),
    ] = 32 * MEBIBYTE
    unsent_bytes_max: Annotated[
        int,
        Meta(
            ge=4 * KIBIBYTE,
            le=1 << 40,
            description="Answers not taken yet, in a worker; above it all bulk requests wait.",
        ),
    ] = 1_024 * MEBIBYTE
    burst_seconds: Annotated[
        float,
        Meta(
            ge=0.1,
            le=3_600,
            description="A quiet body may ask at once for the codes of so many seconds of its rate (authority file).",
        ),
    ] = 2.0


class Cohorts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codes that bodies keep here of their own recipients, to ask what changed among them (docs/cohorts.md)."""

    directory: Annotated[
        str, Meta(description="Directory of the cohorts, not the register's. Empty: this server keeps none.")
    ] = ""
    cohorts_per_body_max: Annotated[
        int, Meta(ge=1, le=10_000, description="Cohorts of one body, over all affairs.")
    ] = 100
    codes_per_cohort_max: Annotated[
        int, Meta(ge=1, le=limits.RESIDENT_KEYS, description="Codes in one cohort; 40 million take about 65 MB.")
    ] = 130_000_000


class Fairness(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How interactive and bulk callers share a worker."""

    interactive_codes_max: Annotated[
        int,
        Meta(
            ge=0, le=4_096, description="Requests of at most so many codes are answered at once, before any bulk work."
        ),
    ] = 64
    slice_codes: Annotated[
        int,
        Meta(
            ge=64, le=65_536, description="Codes of a bulk request that are worked off before others have their turn."
        ),
    ] = 16_384
    write_bytes: Annotated[
        int,
        Meta(
            ge=4 * KIBIBYTE,
            le=16 * MEBIBYTE,
            description="Bytes of a long answer that are sent before others have their turn.",
        ),
    ] = 256 * KIBIBYTE


class Waits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The longest that the server waits for anything."""

    handshake_seconds: Annotated[
        float, Meta(ge=0.1, le=300, description="For a TLS handshake, from the connection's first packet.")
    ] = 10.0
    frame_seconds: Annotated[
        float, Meta(ge=0.1, le=3_600, description="For the rest of a frame whose first byte has arrived.")
    ] = 30.0
    write_seconds: Annotated[
        float,
        Meta(
            ge=0.1, le=3_600, description="For a caller to take the next piece (fairness.write_bytes) of its answers."
        ),
    ] = 30.0
    idle_seconds: Annotated[
        float, Meta(ge=1, le=86_400, description="For the next request on a connection with nothing under way.")
    ] = 600.0
    close_seconds: Annotated[
        float,
        Meta(ge=0.1, le=60, description="For the caller's end of a connection that the server has finished with."),
    ] = 1.0
    drain_seconds: Annotated[
        float, Meta(ge=0.1, le=3_600, description="For requests under way after SIGTERM; then they are cut off.")
    ] = 30.0


class Supervision(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How worker processes are started and restarted."""

    start_seconds: Annotated[
        float, Meta(ge=1, le=86_400, description="For a worker to open and warm the register.")
    ] = 900.0
    restart_delay_seconds: Annotated[
        float,
        Meta(ge=0.01, le=60, description="Before a dead worker is started again; doubled each time it dies early."),
    ] = 0.25
    restart_delay_seconds_max: Annotated[float, Meta(ge=0.01, le=3_600, description="The longest of these delays.")] = (
        30.0
    )
    restarts_max: Annotated[
        int,
        Meta(ge=0, le=10_000, description="Restarts within restart_window_seconds before the whole server gives up."),
    ] = 20
    restart_window_seconds: Annotated[float, Meta(ge=1, le=86_400, description="See restarts_max.")] = 600.0


class Observation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Log and metrics. Neither ever holds personal data."""

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe records that are logged.")
    ] = "info"
    metrics_file: Annotated[
        str, Meta(description="File for the metrics in Prometheus' text format, replaced whole each time. Empty: none.")
    ] = ""
    metrics_seconds: Annotated[float, Meta(ge=0.1, le=3_600, description="How often the metrics are written.")] = 5.0


class Configuration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of ``jukinet serve``."""

    server: Server = Server()
    register: Register
    tls: Tls
    authority: Authority
    record_of_use: RecordOfUse
    sealing: Sealing = Sealing()
    operators: Operators = Operators()
    feed: Feed = Feed()
    witness: Witness = Witness()
    administration: Administration = Administration()
    retention: Retention = Retention()
    notices: Notices = Notices()
    cohorts: Cohorts = Cohorts()
    watch: Watch = Watch()
    boundary: Boundary = Boundary()
    selfcheck: Selfcheck = Selfcheck()
    limits: Limits = Limits()
    fairness: Fairness = Fairness()
    waits: Waits = Waits()
    supervision: Supervision = Supervision()
    observation: Observation = Observation()

    def own_ports(self) -> dict[str, Port]:
        """The ports that are open besides the query port, by their sections' names."""
        found: dict[str, Port] = {name: getattr(self, name) for name in OWN_PORTS}
        return {name: port for name, port in found.items() if port.enabled}

    def ports(self) -> dict[str, Tls]:
        """The certificates of every port that is open: "query", and those of ``own_ports``."""
        found = {"query": self.tls}
        for name, port in self.own_ports().items():
            pair = (port.certificate, port.key) if port.certificate else (self.tls.certificate, self.tls.key)
            found[name] = Tls(certificate=pair[0], key=pair[1], roots=port.roots, revocation_list=port.revocation_list)
        return found

    def numbers_are_shared(self) -> bool:
        """Whether two open ports have one number."""
        numbers = [number for number in (self.server.port, *(p.port for p in self.own_ports().values())) if number]
        return len(set(numbers)) < len(numbers)

    @property
    def worker_count(self) -> int:
        """Number of worker processes, with 0 resolved to the CPUs this process may use."""
        return self.server.workers or len(os.sched_getaffinity(0))

    def contradictions(self) -> Iterator[str]:
        """The sentence of each relation between settings that does not hold."""
        return (sentence for sentence, broken in RELATIONS.items() if broken(self))


RELATIONS: Final[dict[str, Callable[[Configuration], bool]]] = {
    "operators.required needs operators.database; or say operators.required = false": lambda c: (
        c.operators.required and not c.operators.database
    ),
    "limits.connections_per_body_max is above limits.connections_max": lambda c: (
        c.limits.connections_per_body_max > c.limits.connections_max
    ),
    "limits.request_bytes_max cannot hold limits.codes_per_request_max codes of 8 bytes": lambda c: (
        c.limits.codes_per_request_max * 8 + limits.FRAME_HEADER_BYTES > c.limits.request_bytes_max
    ),
    "limits.queued_bytes_per_connection_max is below limits.request_bytes_max": lambda c: (
        c.limits.queued_bytes_per_connection_max < c.limits.request_bytes_max
    ),
    "limits.queued_bytes_max is below limits.queued_bytes_per_connection_max": lambda c: (
        c.limits.queued_bytes_max < c.limits.queued_bytes_per_connection_max
    ),
    "limits.unsent_bytes_max is below limits.unsent_bytes_per_connection_max": lambda c: (
        c.limits.unsent_bytes_max < c.limits.unsent_bytes_per_connection_max
    ),
    "fairness.interactive_codes_max is above fairness.slice_codes": lambda c: (
        c.fairness.interactive_codes_max > c.fairness.slice_codes
    ),
    "fairness.write_bytes is above limits.unsent_bytes_per_connection_max": lambda c: (
        c.fairness.write_bytes > c.limits.unsent_bytes_per_connection_max
    ),
    "record_of_use.segment_step_bytes is above record_of_use.segment_bytes_max": lambda c: (
        c.record_of_use.segment_step_bytes > c.record_of_use.segment_bytes_max
    ),
    "register.lock_in_memory needs register.warm": lambda c: c.register.lock_in_memory and not c.register.warm,
    "roots of feed, witness or administration are missing: they name who may connect there": lambda c: any(
        not port.roots for port in c.own_ports().values()
    ),
    "certificate and key of feed, witness or administration belong together": lambda c: any(
        bool(port.certificate) != bool(port.key) for port in (c.feed, c.witness, c.administration)
    ),
    "two of server, feed, witness and administration have one port": lambda c: c.numbers_are_shared(),
    "witness.enabled needs feed.enabled: the feed writer serves both ports": lambda c: (
        c.witness.enabled and not c.feed.enabled
    ),
    "feed.gather_milliseconds is above feed.transaction_milliseconds_max": lambda c: (
        c.feed.gather_milliseconds > c.feed.transaction_milliseconds_max
    ),
    "feed.queued_bytes_total_max is below feed.queued_bytes_max": lambda c: (
        c.feed.queued_bytes_total_max < c.feed.queued_bytes_max
    ),
    "feed.queued_bytes_max is below feed.batch_bytes_max": lambda c: c.feed.queued_bytes_max < c.feed.batch_bytes_max,
    "notices.receipt_days is below notices.retention_days": lambda c: c.notices.receipt_days < c.notices.retention_days,
    "cohorts.directory is register.store or record_of_use.directory": lambda c: (
        c.cohorts.directory in (c.register.store, c.record_of_use.directory)
    ),
    "watch.directory is register.store or record_of_use.directory": lambda c: (
        c.watch.directory in (c.register.store, c.record_of_use.directory)
    ),
    "watch.stop_rules names what is no rule about an operator": lambda c: c.watch.stop_rules_are_wrong,
    "supervision.restart_delay_seconds is above supervision.restart_delay_seconds_max": lambda c: (
        c.supervision.restart_delay_seconds > c.supervision.restart_delay_seconds_max
    ),
}


PATH_SETTINGS: Final = {
    "register": ("store",),
    **dict.fromkeys(("tls", *OWN_PORTS), ("certificate", "key", "roots", "revocation_list")),
    "authority": ("file",),
    "operators": ("database",),
    "record_of_use": ("directory",),
    "sealing": ("key",),
    "cohorts": ("directory",),
    "watch": ("directory",),
    "boundary": ("administration_socket",),
    "selfcheck": ("key", "backup_directory"),
    "observation": ("metrics_file",),
}
FILES_NEEDED: Final = {
    **dict.fromkeys(("tls", *OWN_PORTS), ("certificate", "key", "roots", "revocation_list")),
    "authority": ("file",),
    "sealing": ("key",),
    "operators": ("database",),
}


def load(path: str | os.PathLike[str]) -> Configuration:
    """Read, check and resolve a configuration file.

    Raises ConfigurationError, naming file, key and remedy.
    """
    place = Path(path)
    try:
        text = place.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{place}: cannot be read: {error.strerror}") from None
    try:
        document = tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{place}: not a TOML file: {error}") from None
    for section, names in PATH_SETTINGS.items():
        values = document.get(section)
        if isinstance(values, dict):
            for name in names:
                if isinstance(values.get(name), str) and values[name]:
                    values[name] = os.path.normpath(place.absolute().parent / values[name])
    try:
        configuration = msgspec.convert(document, Configuration)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{place}: {_plain(str(error))}; see docs/configuration.md") from None
    for sentence in configuration.contradictions():
        raise ConfigurationError(f"{place}: {sentence}")
    return configuration


def check_files(configuration: Configuration) -> None:
    """Refuse settings that name files or directories which are not there. Raises ConfigurationError."""
    for section, names in FILES_NEEDED.items():
        for name in names:
            value = getattr(getattr(configuration, section), name)
            if value and not os.access(value, os.R_OK):
                raise ConfigurationError(f"{section}.{name}: {value} is not there or cannot be read")
    if not Path(configuration.register.store).is_dir():
        raise ConfigurationError(
            f"register.store: {configuration.register.store} is not a directory; build one with `jukinet nation build`"
        )
    directory = Path(configuration.record_of_use.directory)
    if not (directory if directory.is_dir() else directory.parent).is_dir():
        raise ConfigurationError(f"record_of_use.directory: {directory.parent} is not there")


def _plain(message: str) -> str:
    """msgspec's message with the setting's name in front: 'limits.connections_max: expected ...'."""
    text, separator, place = message.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if not separator or not place:
        return text
    return f"{place}: {text[:1].lower()}{text[1:]}"
