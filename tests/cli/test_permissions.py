"""Directories that are shared, that are others', or that cannot be written, as a shell meets them."""

import os

import pytest

import stratakv as engine
from tests.support.children import run
from tests.support.users import let_in

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")


@pytest.fixture
def shared(tmp_path):
    """A new directory that its group may write to."""
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(0o770)
    return directory


def test_every_command_works_on_a_directory_that_a_group_shares(stratakv, shared, tmp_path):
    for words in (
        ["put", shared, "key", "value"],
        ["get", shared, "key"],
        ["scan", shared],
        ["stats", shared],
        ["verify", shared, "--repair"],
        ["compact", shared],
        ["maintain", shared],
        ["backup", shared, tmp_path / "copy"],
        ["recover", shared],
        ["delete", shared, "key"],
    ):
        done = stratakv(*words)
        assert (done.returncode, done.stderr) == (0, b""), words[0]
    for directory in (shared, tmp_path / "copy"):
        assert directory.stat().st_mode & 0o777 == 0o770
        assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o660}


@pytest.mark.parametrize("mode", [0o702, 0o772])
def test_a_directory_that_others_may_write_to_is_refused(refused, shared, mode):
    shared.chmod(mode)
    assert "chmod o-w" in refused("put", shared, "key", "value")
    assert not any(shared.iterdir())


@as_root
def test_a_member_of_the_group_may_use_a_shared_store(as_user, shared):
    os.chown(shared, 30001, 30000)
    let_in(shared)
    assert as_user(30001, "put", shared, "key", "value") == (0, "")
    assert as_user(30002, "put", shared, "key", "newer") == (0, "")
    with engine.open(shared, mode=0o770) as db:
        assert db.get(b"key") == b"newer"


@as_root
def test_root_is_told_to_run_as_the_owner_of_a_shared_store(refused, shared):
    os.chown(shared, 30001, 30000)
    for words in (["put", shared, "key", "value"], ["get", shared, "key"]):
        assert "run this as that user (`sudo -u '#30001' …`), not as root" in refused(*words)
    assert not any(shared.iterdir())


@as_root
def test_a_store_of_another_user_says_whose_it_is(as_user, store):
    os.chown(store, 30001, 30000)
    let_in(store)
    for words in (["get", store, "apple"], ["put", store, "key", "value"], ["backup", store, "copy"]):
        status, line = as_user(30002, *words)
        assert (status, "belongs to user 30001 and you are user 30002; run as that user" in line) == (2, True)


@as_root
def test_a_store_that_cannot_be_written_is_for_readers(as_user, store):
    for path in (store, *store.iterdir()):
        os.chown(path, 30001, 30000)
    store.chmod(0o500)
    let_in(store)
    for words in (["put", store, "key", "value"], ["compact", store]):
        status, line = as_user(30001, *words)
        assert (status, "run as one who may write to it, or only read it" in line) == (2, True)
    status, line = as_user(30001, "recover", store)
    assert (status, "copy it and recover the copy" in line) == (2, True)
    assert as_user(30001, "get", store, "apple") == (0, "")


@pytest.fixture
def as_user(capfd):
    """Run a command as a user of the group 30000; return its exit status and its standard error."""
    cli = pytest.importorskip("stratakv.cli", reason="needs the package click (extra stratakv[cli])")

    def start(user, *words):
        def work():
            os.setgroups([])
            os.setgid(30000)
            os.setuid(user)
            os._exit(cli.run([os.fspath(word) for word in words]))

        (status,) = run(work)
        return status, capfd.readouterr().err

    return start
