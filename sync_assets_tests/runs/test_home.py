"""Where Dagster's home is: one for all commands on the same definitions, and for no others."""

from pathlib import Path

import pytest

from sync_assets.runs.home import find_home, has_home


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The definitions of a project."""
    folder = tmp_path / "shop" / "defs"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text("")
    return folder


def environment(defs: Path, **more: str) -> dict[str, str]:
    return {"SYNC_DEFS": str(defs), "XDG_STATE_HOME": "/state", **more}


def test_it_is_the_same_from_every_folder_and_by_every_name(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = find_home(environment(shop))
    monkeypatch.chdir("/")
    assert find_home(environment(shop)) == home
    assert find_home(environment(shop / "defs.yaml")) == home
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    assert find_home(environment(tmp_path / "link" / "defs")) == home
    assert (home.parent, home.name.rpartition("-")[0]) == (Path("/state/sync-assets"), "shop")


def test_two_projects_share_none(shop: Path, tmp_path: Path) -> None:
    another = tmp_path / "copy" / "shop" / "defs"
    another.mkdir(parents=True)
    homes = {find_home(environment(place)) for place in (shop, another, tmp_path / "shop")}
    assert len(homes) == 3


def test_what_is_named_wins(shop: Path, tmp_path: Path) -> None:
    assert find_home(environment(shop, DAGSTER_HOME=str(tmp_path))) == tmp_path
    assert has_home(environment(shop, DAGSTER_HOME=str(tmp_path)))


def test_one_of_our_own_is_there_once_it_was_opened(shop: Path, tmp_path: Path) -> None:
    own = environment(shop, XDG_STATE_HOME=str(tmp_path))
    assert not has_home(own)
    find_home(own).mkdir(parents=True)
    (find_home(own) / "dagster.yaml").write_text("")
    assert has_home(own)
