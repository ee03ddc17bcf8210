"""The lease of a TrainJob: renewed by the step, watched in the job, asked for by exit handlers."""

import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from launching.kubernetes_api import NAMESPACE, KubernetesApi
from launching.stage_step import STAGE, StageStep, launch

from uae.errors import StoreError
from uae.launch import lease as lease_module
from uae.launch.failures import FINAL
from uae.launch.lease import LEASE, OWNER, Lease, LeaseWatch, held_by_another
from uae.launch.location import JOB_VARIABLE
from uae.launch.task import read_end
from uae.launch.task_places import LocalPlace, StoredPlace
from uae.launch.trainjob import delete_orphans
from uae.store.embedded import EmbeddedStore
from uae.store.faults import Backoff
from uae.store.ports import free_ports
from uae.store.s3 import Store

AGENT = """
import sys
from uae.launch import agent, lease
lease.LOOK_SECONDS, lease.LEASE_SECONDS = 0.2, float(sys.argv[1])
agent.WORKER = "launching.leased_worker"
sys.argv = ["agent", "--standalone", "--nproc-per-node=1", "-m", agent.WORKER, *sys.argv[2:]]
sys.exit(agent.main())
"""


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.sleeps = 1000.0, 0
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(lease_module, "time", clock)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1


class FlakyPlace(LocalPlace):
    """A folder that can be away."""

    away = False

    def read(self, name: str) -> object:
        if self.away:
            raise StoreError("made up by the test")
        return super().read(name)

    def write(self, name: str, value: object) -> None:
        if self.away:
            raise StoreError("made up by the test")
        super().write(name, value)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def place(tmp_path: Path) -> FlakyPlace:
    return FlakyPlace(tmp_path)


def test_agent_goes_on_while_the_lease_is_renewed_and_then_ends_as_for_sigterm(
    server: EmbeddedStore,
) -> None:
    place = StoredPlace(server.store(), "runs/left/jobs/cold_start")
    task = [f"s3://uae/{place.prefix}", f"--endpoint={server.endpoint}"]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    followed = threading.Event()
    follower = threading.Thread(target=renew_until, args=(followed, place), daemon=True)
    follower.start()
    with subprocess.Popen(
        [sys.executable, "-c", AGENT, "3", *task],
        env=os.environ | server.environment() | {"PYTHONPATH": path}, **output,
    ) as agent:  # fmt: skip
        assert agent.stdout is not None
        try:
            while "works" not in (line := agent.stdout.readline()):
                assert line, "torchrun ended before its process began"
            time.sleep(5)
            assert agent.poll() is None
            followed.set()
            said = agent.communicate(timeout=60)[0]
        finally:
            agent.kill()
    follower.join()
    assert agent.returncode == FINAL, said
    assert read_end(place).startswith("ended: no step has followed")
    assert "SIGTERM: time for a checkpoint" in said
    assert "ended: no step has followed this TrainJob for 3 s" in said.splitlines()[-1]


def renew_until(over: threading.Event, place: StoredPlace) -> None:
    while not over.is_set():
        Lease(place, "job-1").take()
        over.wait(0.3)


def test_job_ends_when_the_lease_is_not_renewed(place: FlakyPlace, clock: Clock) -> None:
    Lease(place, "job-1").take()
    began = clock.now
    ended: list[float] = []
    LeaseWatch(lambda: place).watch(lambda: ended.append(clock.now - began))
    assert ended == [lease_module.LEASE_SECONDS]


def test_job_whose_lease_is_renewed_goes_on(place: FlakyPlace, clock: Clock) -> None:
    lease, watch = Lease(place, "job-1"), LeaseWatch(lambda: place)
    lease.take()
    for _ in range(200):
        clock.sleep(lease_module.LOOK_SECONDS)
        lease.renew()
        assert watch.look() == 0


def test_time_while_the_store_is_away_does_not_count(place: FlakyPlace, clock: Clock) -> None:
    Lease(place, "job-1").take()
    watch = LeaseWatch(lambda: place)
    watch.look()
    clock.sleep(60)
    assert watch.look() == 60
    place.away = True
    for _ in range(200):
        clock.sleep(60)
        assert watch.look() == 60
    place.away = False
    assert watch.look() == 60
    clock.sleep(60)
    assert watch.look() == 120


def test_store_that_cannot_be_opened_ends_no_job(clock: Clock) -> None:
    endpoint = f"127.0.0.1:{free_ports()['s3']}"
    store = Store(endpoint, "uae", "key", "secret", False, backoff=Backoff(attempts=1))

    def connect() -> StoredPlace:
        store.check_bucket()
        return StoredPlace(store, "runs/one/jobs/gate")

    watch = LeaseWatch(connect)
    for _ in range(3):
        clock.sleep(lease_module.LEASE_SECONDS)
        assert watch.look() == 0


def test_job_without_a_lease_goes_on(place: FlakyPlace, clock: Clock) -> None:
    watch = LeaseWatch(lambda: place)
    for _ in range(3):
        clock.sleep(lease_module.LEASE_SECONDS)
        assert watch.look() == 0


def test_lease_is_renewed_when_it_is_time_and_not_before(place: FlakyPlace, clock: Clock) -> None:
    lease = Lease(place, "job-1")
    lease.take()
    first = place.read(LEASE)
    lease.renew()
    assert place.read(LEASE) == first
    clock.sleep(lease_module.RENEW_SECONDS)
    lease.renew()
    assert place.read(LEASE) != first


def test_store_that_is_away_does_not_end_the_step(
    place: FlakyPlace, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = Lease(place, "job-1")
    lease.take()
    place.away = True
    clock.sleep(lease_module.RENEW_SECONDS)
    lease.renew()
    lease.renew()
    assert capsys.readouterr().out.count("lease is not renewed: made up by the test") == 1
    with pytest.raises(StoreError):
        lease.take()


def test_following_step_renews_the_lease_of_its_job(
    api: KubernetesApi, stage_step: StageStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.0)
    place = StoredPlace(stage_step.store, f"{stage_step.prefix}/jobs/{STAGE}")
    seen: list[tuple[str, str]] = []

    def look() -> None:
        seen.append((place.read(OWNER)["job"], place.read(LEASE)["at"]))

    api.scenes.extend([look, look, look, lambda: api.jobs.clear()])
    with pytest.raises(Exception, match="deleted by somebody else"):
        stage_step(launch())
    assert {job for job, _ in seen} == {"job-1"}
    assert len({at for _, at in seen}) == 3


def test_execution_that_takes_a_job_up_again_owns_it(
    api: KubernetesApi, stage_step: StageStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StoredPlace(stage_step.store, f"{stage_step.prefix}/jobs/{STAGE}")
    old = {"at": (datetime.now(UTC) - timedelta(hours=2)).isoformat()}

    def abandon() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("uae.launch.trainjob._stop", lambda *_: None)
    for job in ("job-1", "job-2"):
        monkeypatch.setenv(JOB_VARIABLE, job)
        monkeypatch.setattr("uae.launch.trainjob.follow", lambda *_: abandon())
        with pytest.raises(KeyboardInterrupt):
            stage_step(launch())
        assert place.read(OWNER) == {"job": job}
        assert place.read(LEASE) != old
        if job == "job-1":
            place.write(LEASE, old)
    assert len(api.created) == 1
    run, store = stage_step.run, stage_step.store
    assert delete_orphans(run, store, "job-1", NAMESPACE) == []
    assert len(api.jobs) == 1
    assert delete_orphans(run, store, "job-2", NAMESPACE) == [api.created[0]["metadata"]["name"]]
    assert api.jobs == {}


@pytest.mark.parametrize(
    ("owner", "asks", "minutes", "held"),
    [
        ("job-2", "job-1", 0, True),
        ("job-2", "job-1", 55, True),
        ("job-2", "job-1", 65, False),  # nobody followed it since
        ("job-1", "job-1", 0, False),
        ("job-2", "", 0, False),
        ("", "job-1", 0, False),
    ],
)
def test_jobs_of_a_living_execution_are_held(
    place: FlakyPlace, owner: str, asks: str, minutes: int, held: bool
) -> None:
    assert held_by_another(place, asks) is False
    Lease(place, owner).take()
    place.write(LEASE, {"at": (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()})
    assert held_by_another(place, asks) is held
