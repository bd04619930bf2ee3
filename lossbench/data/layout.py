"""Which class and which side of the split an image of the user's belongs to, read from the names of all of them.

A folder's name alone decides nothing: `train` may be a split, a class (CIFAR-100 has one) or a wrapper. What can be
read in two ways is refused, with the option that decides; what is left out is counted, by reason and suffix.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

ROLES = ("train", "test", "validation", "class", "out")
CLASS_FOLDERS = ("first", "last")

_WORDS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_WORDS |= dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "validation")
_FILLERS = {"", "set", "data", "dataset", "images", "image", "imgs", "split", "folder"}

Parts = tuple[str, ...]


class Place(NamedTuple):
    """Where one image belongs; split is "" where the folders do not say."""

    class_index: int
    split: str


class Layout(NamedTuple):
    """The classes as they are written, the place of each image, the rule of the split, and what has no place."""

    class_names: tuple[str, ...]
    places: dict[str, Place]
    split: str
    left_out: Counter[tuple[str, str]]

    @property
    def sides(self) -> tuple[str, ...]:
        """The sides of the split that the data set will have."""
        three = any(place.split == "validation" for place in self.places.values())
        return ("train", "validation", "test") if three else ("train", "test")


def suffix_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower() or "no suffix"


def role_of(folder: str, *, loose: bool = False) -> str:
    """The split that a folder's name speaks of, else "": `train`, `Test_set`, `val2017`; loosely also `seg_train`."""
    words = [re.sub("(set|data)$", "", word) for word in re.split("[^a-z]+", folder.lower())]
    roles = {_WORDS[word] for word in words if word in _WORDS}
    others = {word for word in words if word not in _WORDS and word not in _FILLERS}
    return roles.pop() if len(roles) == 1 and (loose or not others) else ""


def read_layout(names: Iterable[str], roles: Mapping[str, str] | None = None, class_folder: str = "") -> Layout:
    """Read the names of all images, relative and with forward slashes.

    Args:
        roles: folder -> one of `ROLES`, where the user says what a folder is.
        class_folder: which of nested folders names the class, one of `CLASS_FOLDERS`; "" refuses nested folders.
    Raises ValueError where there are fewer than two classes, a class lacks a side, or two readings are possible.
    """
    roles = dict(roles or {})
    all_paths = {name: PurePosixPath(name).parts for name in sorted(names)}
    _check_options(all_paths, roles, class_folder)
    out = {folder for folder, role in roles.items() if role == "out"}
    reasons = {name: "left out as asked" for name, parts in all_paths.items() if out & {*parts[:-1], *_prefixes(parts)}}
    paths = _without_wrapper({name: parts for name, parts in all_paths.items() if name not in reasons})
    if _is_class_first(paths, roles):
        folders = {parts[1]: role_of(parts[1]) for parts in paths.values()}
        sides = {name: folders[parts[1]] for name, parts in paths.items()}
        paths = {name: (parts[0], parts[2]) for name, parts in paths.items()}
    elif folders := _split_folders(paths, roles):
        sides = {name: folders[parts[0]] for name, parts in paths.items()}
        paths = _below_splits(paths, folders)
    else:
        sides = dict.fromkeys(paths, "")
    classes = _name_classes(paths, class_folder)
    class_names = tuple(sorted(set(classes.values())))
    if len(class_names) < 2:
        raise ValueError(_too_few(class_names, all_paths))
    index = {name: k for k, name in enumerate(class_names)}
    three = "test" in sides.values()  # else the validation images are the test images
    side_of = {"train": "train", "test": "test", "validation": "validation" if three else "test", "": ""}
    places = {name: Place(index[class_name], side_of[sides[name]]) for name, class_name in classes.items()}
    left_out = Counter(
        (reasons.get(name, "in no class folder"), suffix_of(name)) for name in all_paths if name not in places
    )
    layout = Layout(class_names, places, "", left_out)
    if not {"train", "test"} <= {place.split for place in places.values()}:
        return Layout(class_names, {name: Place(place.class_index, "") for name, place in places.items()}, "", left_out)
    check_sides(class_names, places.values(), layout.sides)
    used = {sides[name] for name in places}
    rule = ", ".join(f"{folder} ({side_of[role]})" for folder, role in sorted(folders.items()) if role in used)
    return layout._replace(split=f"by the folders {rule}")


def check_sides(class_names: Sequence[str], places: Iterable[Place], sides: Sequence[str]) -> None:
    """Refuse a class without an image on one of the sides of the split."""
    there = set(places)
    for side in sides:
        if missing := [name for k, name in enumerate(class_names) if Place(k, side) not in there]:
            classes = "class" if len(missing) == 1 else "classes"
            raise ValueError(
                f"no {side} image of the {classes} {listed(missing)}: every class needs images on "
                f"{'both' if len(sides) == 2 else 'all three'} sides; add some, or leave a folder out with "
                "--role FOLDER=out"
            )


def listed(names: Iterable[str], most: int = 12) -> str:
    """Names of the user's in a message: quoted, on one line, the first of many."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def _check_options(paths: Mapping[str, Parts], roles: Mapping[str, str], class_folder: str) -> None:
    folders = {folder for parts in paths.values() for folder in (*parts[:-1], *_prefixes(parts))}
    for folder, role in roles.items():
        if role not in ROLES:
            raise ValueError(f"--role {folder}={role}: no such role; choose from {', '.join(ROLES)}")
        if folder not in folders:
            raise ValueError(f"--role {folder}={role}: no such folder of images; there are {listed(sorted(folders))}")
    if class_folder and class_folder not in CLASS_FOLDERS:
        raise ValueError(f"--class-folder {class_folder}: choose from {', '.join(CLASS_FOLDERS)}")


def _prefixes(parts: Parts) -> set[str]:
    return {"/".join(parts[:k]) for k in range(1, len(parts))}


def _without_wrapper(paths: Mapping[str, Parts]) -> dict[str, Parts]:
    """The images in folders, without those that hold everything, as archives often have one."""
    paths = {name: parts for name, parts in paths.items() if len(parts) > 1}
    while len({parts[0] for parts in paths.values()}) == 1 and any(len(parts) > 2 for parts in paths.values()):
        paths = {name: parts[1:] for name, parts in paths.items() if len(parts) > 2}
    return dict(paths)


def _split_folders(paths: Mapping[str, Parts], roles: Mapping[str, str]) -> dict[str, str]:
    """Folder -> side, where the outermost folders are the sides of a split; {} where they are not.

    Raises ValueError where they are so in part.
    """
    tops = sorted({parts[0] for parts in paths.values()})
    holds_folders = {parts[0] for parts in paths.values() if len(parts) > 2}
    given = {folder: roles[folder] for folder in tops if folder in roles}
    folders = {folder: given.get(folder) or role_of(folder) for folder in tops}
    if not any(folders.values()):
        loosely = {folder: role_of(folder, loose=True) for folder in tops}
        if all(loosely.values()) and "train" in loosely.values() and holds_folders:
            folders = loosely
    splits = {folder: role for folder, role in folders.items() if role not in ("", "class")}
    others = [folder for folder in tops if folder not in splits]
    guessed = {folder for folder in splits if folder not in given}
    if others and set(splits.values()) == {"train"} and guessed == set(splits) and not holds_folders:
        return {}  # class folders, one of which is called train
    if not splits:
        return {}
    options = "; say what each is with --role FOLDER=ROLE, a role being one of " + ", ".join(ROLES)
    if flat := [folder for folder in splits if folder not in holds_folders]:
        what = "holds images directly, and so could be a side" if len(flat) == 1 else "hold images directly: sides"
        raise ValueError(
            f"{listed(flat)} {what} of a split without classes, or {'a class' if len(flat) == 1 else 'classes'} called "
            f"so{options} (for example --role {flat[0]}=out or {flat[0]}=class)"
        )
    if others:
        verb = "is" if len(others) == 1 else "are"
        raise ValueError(f"beside {listed(splits)} there {verb} {listed(others)}, in no split{options}")
    counts = Counter(splits[folder] for folder in guessed)
    if twice := [role for role, count in counts.items() if count > 1]:
        raise ValueError(f"{listed(f for f in splits if splits[f] in twice)} are all for {twice[0]}{options}")
    if "train" not in splits.values():
        raise ValueError(f"{listed(splits)}: no folder is for train{options}")
    return splits


def _below_splits(paths: Mapping[str, Parts], folders: Mapping[str, str]) -> dict[str, Parts]:
    """The paths below the sides, without a wrapper in each, as in `seg_train/seg_train/` or `train/images/`."""
    below = {name: parts[1:] for name, parts in paths.items()}
    for folder, role in folders.items():
        names = [name for name, parts in paths.items() if parts[0] == folder]
        inner = {below[name][0] for name in names}
        if len(inner) == 1 and all(len(below[name]) > 2 for name in names):
            (wrapper,) = inner
            if wrapper == folder or role_of(wrapper, loose=True) == role:
                below |= {name: below[name][1:] for name in names}
    return _without_wrapper(below)


def _is_class_first(paths: Mapping[str, Parts], roles: Mapping[str, str]) -> bool:
    """Whether the outermost folders are classes, each with its own folders train and test."""
    tops = {parts[0]: roles.get(parts[0]) or role_of(parts[0]) for parts in paths.values()}
    inner = {parts[1]: role_of(parts[1]) if len(parts) == 3 else "" for parts in paths.values()}
    named = len(set(inner.values())) == len(inner) > 1 and "train" in inner.values() and all(inner.values())
    return named and not all(role not in ("", "class") for role in tops.values())


def _name_classes(below: Mapping[str, Parts], class_folder: str) -> dict[str, str]:
    first = {name: parts[0] for name, parts in below.items()}
    last = {name: parts[-2] for name, parts in below.items()}
    if first == last or class_folder == "first" or len(set(last.values())) < 2:
        return first
    if class_folder == "last":
        return last
    raise ValueError(
        f"folders lie in folders: the classes are {listed(sorted(set(first.values())))} with --class-folder first, "
        f"{listed(sorted(set(last.values())))} with --class-folder last; name one of them"
    )


def _too_few(class_names: Sequence[str], paths: Mapping[str, Parts]) -> str:
    depths = ", ".join(str(depth) for depth in sorted({len(parts) - 1 for parts in paths.values()}))
    return (
        f"holds images of {len(class_names)} classes {list(class_names)} ({len(paths)} images, {depths or 'no'} "
        "folders deep); a dataset needs at least two folders of images, one a class, such as cats/1.jpg and dogs/1.jpg"
    )
