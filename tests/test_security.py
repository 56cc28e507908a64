"""What a study must not do: listen to the network, run what lies in a run folder, leave it, tell secrets."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import analysis
from analysis.events import BrokenLogError, read_events
from analysis.report import write_report
from study import simulate
from study.job import OpenTest
from study.launch import resume
from study.log import LockedError, Log
from study.plan import Plan, PlanError
from study.run import main
from study.secrets import masked, masked_url, secret_values
from study.test_split import examine
from study.trial import TrialData, train
from tests.conftest import CPU
from tests.dashboard_page import open_browser
from tests.sample_run import SampleRun
from tests.test_trial import job

SECRET = "hunter2-hunter2"


# Secrets


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKID:k/e@y@bucket/folder", "s3://AKID:***@bucket/folder"),
        ("http://host:5000/people@work", "http://host:***@work"),  # it may be a password
        ("http://host:5000/people%40work", None),
        ("http://host:5000", None),
        ("postgresql://me:pa?ss@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:pa#ss@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@work:pw@host/db", "postgresql://me@work:***@host/db"),
        ("postgresql://me:1234/5@host/db", "postgresql://me:***@host/db"),
        ("s3://AKID:4/abc@bucket", "s3://AKID:***@bucket"),
        ("s3://bucket/a:b@c", None),
        ("https://host/x?api-key=abc", "https://host/x?api-key=***"),
        ("mysql://me@host/db?pass=abc", "mysql://me@host/db?pass=***"),
        (f"mysql://me@host/db?ssl_key={__file__}", None),
        ("mysql://me@host/db?ssl_key=client-key.pem", None),
        ("mysql://me@host/db?password=client-key.pem", "mysql://me@host/db?password=***"),
        ("https://host/x?monkey=abc", None),
        ("hdfs://nn:8020/user/me@CORP", "hdfs://nn:***@CORP"),
        ("hdfs://nn:8020/user/me%40CORP", None),
        ("s3://AKID:key@bucket/folder?region=x", "s3://AKID:***@bucket/folder?region=x"),
        ("postgresql+psycopg://me:pw@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("s3://bucket?secret_key=abc&region=x", "s3://bucket?secret_key=***&region=x"),
        ("abfs://c@account/x?account_key=abc", "abfs://c@account/x?account_key=***"),
        ("https://host/x?sig=abc", "https://host/x?sig=***"),
        ("s3://bucket/folder?endpoint_override=127.0.0.1:9000&scheme=http", None),
        ("sqlite:////home/me/x.db", None),
        ("postgresql://me@host/db", None),
        ("10.0.0.1:6379", None),
        ("auto", None),
    ],
)
def test_passwords_and_keys_in_urls_are_found(url: str, shown: str | None) -> None:
    assert masked_url(url) == (shown or url)
    assert masked(f"no file at '{url}', see there") == f"no file at '{shown or url}', see there"


@pytest.mark.parametrize("flag", ["address", "storage", "optuna_storage", "mlflow"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    flag: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = main(["--space", "resnet", f"--{flag.replace('_', '-')}", f"postgresql://me:{SECRET}@host/db"])
    said = capsys.readouterr()
    assert code == 2
    assert "must hold no password or key" in said.err
    assert "an @ that ends no password is written %40, and a file with a key ends in .pem" in said.err
    assert "postgresql://me:***@host/db" in said.err
    assert SECRET not in said.out + said.err
    assert list(tmp_path.iterdir()) == []


def test_secret_variables_are_told_by_their_names_and_by_passwords_in_urls(tmp_path: Path) -> None:
    variables = {
        "AWS_SECRET_ACCESS_KEY": "a/secret+key",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "PGPASSWORD": "short",
        "DATABASE": "postgresql://me:of-a-url@host/db",
        "RAY_AUTH_TOKEN_PATH": str(tmp_path),
        "HOME": "/home/somebody",
        "MONKEY": "eats-bananas",
        "MYSQL_PWD": "of-mysql",
        "DB_PASS": "of-a-database",
        "AZURE_STORAGE_KEY": "of-a-store",
        "AZURE_STORAGE_CONNECTION_STRING": "Name=me;AccountKey=of-azure==;EndpointSuffix=net",
        "OTHER_URL": "postgresql://me:a/longer?one@host/db",
        "DSN": "host=here password=in-a-pair",
    }
    assert secret_values(variables) == {
        *("a/secret+key", "AKIDEXAMPLE", "of-a-url", "of-mysql", "of-a-database", "of-a-store", "of-azure=="),
        *(variables["AZURE_STORAGE_CONNECTION_STRING"], "a/longer?one", "in-a-pair"),
    }


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        ("https://u:firstsecret@a/x https://v:secondsecret@b/x", {"firstsecret", "secondsecret"}),
        ("postgres://u:hunter2222@h/db?owner=me@work", {"hunter2222", "hunter2222@h/db?owner=me"}),
        ("https://u:hunter22@22@host", {"hunter22", "hunter22@22"}),
        ("https://u:short@host", set()),
    ],
)
def test_each_url_of_a_variable_has_a_password_of_its_own(value: str, secrets: set[str]) -> None:
    assert secret_values({"PIP_EXTRA_INDEX_URL": value}) >= secrets
    assert not any(" " in found for found in secret_values({"PIP_EXTRA_INDEX_URL": value}))


def test_a_plain_word_is_hidden_only_if_it_is_called_a_password() -> None:
    settings = {"CREDENTIAL_MODE": "disabled", "SIGNATURE_VERIFICATION": "optional", "TLS": "key=required;x=y"}
    assert secret_values(settings) == set()
    passwords = {"PGPASSWORD": "sunshine", "MYSQL_PWD": "princess", "DSN": "passphrase=football"}
    assert secret_values(passwords) == {"sunshine", "princess", "football"}
    assert secret_values({"MY_TOKEN": "qwertyuiopasdfghjkl"}) == {"qwertyuiopasdfghjkl"}


@pytest.mark.parametrize("piece", ["x", "x=", "://", "://u:", "://u:@", "@", "a=b;"])
def test_hiding_takes_no_time_however_long_a_variable_or_an_error_is(
    piece: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = piece * (100_000 // len(piece))
    monkeypatch.setenv("LONG", long)
    started = time.process_time()
    masked(f"an error: {long}")
    assert time.process_time() - started < 2


def test_a_password_called_like_a_folder_here_is_hidden_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / SECRET).mkdir()
    assert secret_values({"PGPASSWORD": SECRET}) == {SECRET}


def test_a_secret_that_is_too_long_for_a_name_of_a_file_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    token = "/" + "x" * 5000
    monkeypatch.setenv("MY_TOKEN", token)
    monkeypatch.setenv("SERVICE_TOKEN", token[1:301])
    assert masked(f"no answer to {token} nor {token[1:301]}.") == "no answer to *** nor ***."


def test_a_secret_that_is_set_later_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    masked("before")
    monkeypatch.setenv("SERVICE_TOKEN", SECRET)
    assert masked(f"no answer to {SECRET}") == "no answer to ***"


@pytest.mark.parametrize(("error", "code"), [(PlanError, 2), (LockedError, 2), (BrokenLogError, 2), (OSError, 1)])
def test_no_error_that_the_command_line_prints_tells_a_secret(
    error: type[Exception], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_asked: object) -> None:
        raise error(f"no answer to {SECRET} nor from s3://me:of-a-url@bucket")

    monkeypatch.setenv("SERVICE_TOKEN", SECRET)
    monkeypatch.setattr("study.run._start", fail)
    assert main(["--space", "resnet"]) == code
    assert "no answer to *** nor from s3://me:***@bucket" in capsys.readouterr().err


def test_secrets_that_an_error_quotes_reach_neither_the_log_nor_trial_log(
    tmp_path: Path, trial_data: TrialData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise ValueError(f"no answer from {SECRET} nor https://me:of-a-url@host")

    monkeypatch.setenv("SERVICE_TOKEN", SECRET)
    monkeypatch.setattr("models.build", fail)
    asked = job(tmp_path / "t")
    [ended] = train(asked, trial_data, CPU)
    log = Log(tmp_path / "events.jsonl")
    log.append({**ended, "trial": "resnet-0000", "epochs_trained": 0})
    log.close()
    for file in (asked.folder / "trial.log", log.path):
        content = file.read_text()
        assert "no answer from *** nor https://me:***@host" in content
        assert SECRET not in content


# What lies in a run folder


class Evil:
    """A pickle that makes a file when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return Path.touch, (self.trace,)


def test_the_pickle_would_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "trace")))
    assert (tmp_path / "trace").exists()


def test_a_checkpoint_runs_no_code(tmp_path: Path, trial_data: TrialData) -> None:
    asked = job(tmp_path / "t")
    torch.save({"epoch": Evil(tmp_path / "trace")}, asked.folder / "last.pt")
    *_, last = train(asked, trial_data, CPU)
    assert not (tmp_path / "trace").exists()
    assert last["event"] in ("epoch", "ended")


@pytest.mark.parametrize("name", ["model.safetensors", "model.json", "predictions.npz"])
def test_what_a_final_run_left_runs_no_code(name: str, tmp_path: Path, trial_data: TrialData) -> None:
    asked = replace(job(tmp_path / "t-seed1", max_epochs=1), kind="final")
    list(train(asked, trial_data, CPU))
    file = asked.folder / name
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'trace')!r}).touch()")
    if name == "model.json":
        file.write_text(json.dumps({**json.loads(file.read_text()), "name": f"{tmp_path / 'evil.py'}:network"}))
    elif name == "predictions.npz":
        (tmp_path / "u-seed1").mkdir()  # of an earlier final run, whose mistakes are looked at
        file = tmp_path / "u-seed1" / name
        np.savez(file, probability=np.array([Evil(tmp_path / "trace")], dtype=object))
    else:
        file.write_bytes(pickle.dumps(Evil(tmp_path / "trace")))
    with suppress(ValueError, SafetensorError):  # refused is as good as read safely
        list(examine(OpenTest(("t-seed1",), (asked.network,), tmp_path, fp32=False), trial_data.validation, CPU))
    assert not (tmp_path / "trace").exists()


@pytest.mark.slow  # writes a report
def test_a_report_of_a_folder_with_pickles_runs_none(tmp_path: Path) -> None:
    run = SampleRun(spaces=("resnet",), trials=4).write(tmp_path / "run")
    arrays = [*run.glob("final/*/predictions.npz"), run / "final" / "test_images.npz"]
    for file in arrays:
        evil = np.array([Evil(tmp_path / "trace")], dtype=object)
        np.savez(file, label=evil, probability=evil, index=evil, image=evil)
    try:
        write_report(run)
    except ValueError as error:
        assert "allow_pickle=False" in str(error)  # noqa: PT017
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    "change", [{"trial": "../../home"}, {"trial": "/etc"}, {"space": ".."}, {"trial": "a/b"}, {"trial": ""}]
)
def test_names_that_lead_out_of_the_folder_make_a_broken_log(change: dict[str, str], tmp_path: Path) -> None:
    run = SampleRun(spaces=("resnet",), trials=4).write(tmp_path / "run")
    log = run / "events.jsonl"
    lines = log.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if json.loads(line)["event"] == "suggested")
    lines[number] = json.dumps({**json.loads(lines[number]), **change})
    log.write_text("\n".join(lines) + "\n")
    with pytest.raises(BrokenLogError, match=rf"events.jsonl:{number + 1}: .* has other characters than a name's"):
        analysis.read(run)


@pytest.fixture
def evil_space(tmp_path: Path) -> Path:
    """A run folder with a space file in it, which study.json names and which makes the file `trace` beside."""
    run = SampleRun(spaces=("resnet",), trials=4).write(tmp_path / "run")
    evil = run / "space.py"
    evil.write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'trace')!r}).touch()")
    content = json.loads((run / "study.json").read_text())
    content["spaces"]["resnet"]["file"] = str(evil)
    content |= {"data_dir": "data", "fp32": False}
    (run / "study.json").write_text(json.dumps(content))
    return run


def test_a_space_file_that_came_with_the_run_folder_is_not_run(evil_space: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"space\.py, which lies in the run folder"):
        resume(evil_space)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("named_by", ["file", "name"])
def test_nor_is_it_for_its_recorded_curves(
    named_by: str, evil_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if named_by == "name":
        content = json.loads((evil_space / "study.json").read_text())
        content["spaces"] = {str(evil_space / "space.py"): {**content["spaces"]["resnet"], "file": None}}
        (evil_space / "study.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    assert simulate.main(["--curves", str(evil_space), "--out", str(out)]) == 2
    assert "space.py, which lies in the run folder" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()
    assert not out.exists()


# A running study


@dataclass(frozen=True)
class Running:
    """A study on this machine, without a cluster: its driver, its run folder, what it printed."""

    driver: int
    folder: Path
    mirror: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    mirror = f"sqlite:///{folder / 'optuna.db'}"
    flags = [
        "--space",
        "resnet",
        "--trials",
        "40",
        "--max-epochs",
        "4",
        "--no-report",
        "--optuna-storage",
        mirror,
        "--tensorboard",
    ]
    command = [sys.executable, "-m", "study.run", *flags, "--runs", str(folder), "--name", "s"]
    environment = {**os.environ, "AWS_SECRET_ACCESS_KEY": SECRET, "PGPASSWORD": SECRET}
    with (folder / "printed").open("w") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=printed, env=environment)
        deadline = time.monotonic() + 180
        while sum(event["event"] == "ended" for event in read_events(folder / "s" / "events.jsonl")[0]) < 4:
            assert process.poll() is None, (folder / "printed").read_text()
            assert time.monotonic() < deadline, (folder / "printed").read_text()
            time.sleep(0.2)
        yield Running(process.pid, folder / "s", mirror)
        process.terminate()
        process.wait(60)


def descendants(process: int) -> set[int]:
    """The process and all below it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, new = set(), {process}
    while new:
        found |= new
        new = {child for one in new for child in children.get(one, [])} - found
    return found


def listening(processes: set[int]) -> dict[str, set[str]]:
    """Addresses that the processes listen on, with their names and ports."""
    owners = {}
    for process in processes:
        name = Path(f"/proc/{process}/comm").read_text().strip()
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                owners[str(link.readlink())] = name
            except OSError:
                continue
    found: dict[str, set[str]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            owner = owners.get(f"socket:[{fields[9]}]")
            if fields[3] == "0A" and owner is not None:
                address, port = fields[1].split(":")
                found.setdefault(address, set()).add(f"{owner}:{int(port, 16)}")
    return found


LOOPBACK = {"0100007F", "0" * 24 + "01000000", "0000000000000000FFFF00000100007F"}


@pytest.mark.slow
def test_a_study_on_one_machine_listens_on_loopback_alone(running: Running) -> None:
    found = listening(descendants(running.driver))
    assert sum(map(len, found.values())) >= 5, "these are not all of Ray's processes"
    assert found.keys() <= LOOPBACK, {address: found[address] for address in found.keys() - LOOPBACK}


OWN_RAY = """
import ray
from study import tune

before = ray.util.get_node_ip_address()
tune.start(None)
ray.get(ray.remote(lambda: None).remote())
print("started", flush=True)
input()
tune.stop()
assert ray.util.get_node_ip_address() == before, "a cluster that is joined now would get a wrong address"
print("ended as before")
"""


@pytest.mark.slow
def test_so_it_does_where_ray_was_imported_before_and_a_cluster_may_be_joined_afterwards(tmp_path: Path) -> None:
    (tmp_path / "own_ray.py").write_text(OWN_RAY)
    command = [sys.executable, str(tmp_path / "own_ray.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        found = listening(descendants(process.pid))
        said, _ = process.communicate("\n", timeout=120)
    assert found.keys() <= LOOPBACK, {address: found[address] for address in found.keys() - LOOPBACK}
    assert sum(map(len, found.values())) >= 5, "these are not all of Ray's processes"
    assert said == "ended as before\n"


@pytest.mark.slow
def test_the_dashboard_asks_for_the_token(running: Running) -> None:
    [line] = [line for line in (running.folder.parent / "printed").read_text().splitlines() if "Dashboard" in line]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{line.split()[1]}/api/jobs/", timeout=20)
    caught.value.close()
    assert caught.value.code == 401


@pytest.mark.slow
def test_no_secret_of_the_environment_is_in_the_run_folder_or_printed(running: Running) -> None:
    files = [path for path in running.folder.parent.rglob("*") if path.is_file()]
    assert {"study.json", "events.jsonl", "optuna.db", "printed"} <= {path.name for path in files}
    assert "resnet-0000" in {path.parent.name for path in files if path.parent.parent.name == "tensorboard"}
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None or shutil.which("chromedriver") is None, reason="no Chromium here")
def test_optuna_dashboard_shows_the_running_study_with_paused_trials_as_waiting(running: Running) -> None:
    """Its list of studies, then one's trials, as a person sees them."""
    from optuna_dashboard import wsgi

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = make_server("127.0.0.1", 0, wsgi(running.mirror), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with open_browser() as browser:
        wait = WebDriverWait(browser, 60)
        browser.get(f"http://127.0.0.1:{server.server_port}/dashboard")
        wait.until(lambda b: "s / resnet" in b.find_element(By.TAG_NAME, "body").text)
        browser.get(f"http://127.0.0.1:{server.server_port}/dashboard/studies/1/trials")
        wait.until(lambda b: "Waiting" in b.find_element(By.TAG_NAME, "body").text)
        text = browser.find_element(By.TAG_NAME, "body").text
    server.shutdown()
    server.server_close()
    assert "Complete" in text
    events, _ = read_events(running.folder / "events.jsonl")
    assert any(event["event"] == "ended" and event["state"] == "stopped" for event in events)
    assert events[-1]["event"] != "study_closed", "the page was to be read while the study ran"


def test_the_plan_is_checked_at_a_resume_too(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="must hold no password"):
        Plan(("resnet",), runs=tmp_path, storage=f"s3://a:{SECRET}@b").check_numbers()
