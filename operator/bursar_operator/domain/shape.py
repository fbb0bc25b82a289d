"""How the pools of one tree hang below each other, worked out once for as long as no pool comes or goes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bursar_domain.room import MAX_DEPTH


@dataclass(frozen=True, slots=True)
class Shape:
    """One root pool and those below it, however deep; a pool on a path of more than eight hangs nowhere."""

    root: str
    paths: Mapping[str, tuple[str, ...]]
    """From root to the pool, for each pool of the tree."""
    below: Mapping[str, tuple[str, ...]]
    """Every pool below it, for each pool of the tree."""
    levels: tuple[tuple[str, ...], ...]
    """The pools by their distance from the root, in order of name."""

    @classmethod
    def of(cls, root: str, parents: Mapping[str, str | None]) -> "Shape":
        """From the pools and the ones above them; the root itself may be missing among them."""
        ways = {name: path_up(parents, name) for name in parents}
        paths = {name: way for name, way in ways.items() if way and way[0] == root}
        below: dict[str, list[str]] = {name: [] for name in paths}
        levels: dict[int, list[str]] = {}
        for name in sorted(paths):
            levels.setdefault(len(paths[name]), []).append(name)
            for above in paths[name][:-1]:
                below.setdefault(above, []).append(name)
        held = {name: tuple(names) for name, names in below.items()}
        return cls(root, paths, held, tuple(tuple(levels[depth]) for depth in sorted(levels)))


def path_up(parents: Mapping[str, str | None], name: str) -> tuple[str, ...]:
    """From the topmost pool that is named down to this one; empty in a circle and below more pools than may be."""
    way = [name]
    while (above := parents.get(way[0])) is not None:
        if len(way) == MAX_DEPTH or above in way:
            return ()
        way.insert(0, above)
    return tuple(way)


def trees(parents: Mapping[str, str | None]) -> Iterable[Shape]:
    """Every tree of these pools. One whose root is not there has its name all the same; what hangs nowhere stands alone."""
    by_root: dict[str, dict[str, str | None]] = {}
    for name, above in parents.items():
        way = path_up(parents, name)
        by_root.setdefault(way[0] if way else name, {})[name] = above if way else None
    return [Shape.of(root, members) for root, members in by_root.items()]
