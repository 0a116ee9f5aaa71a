"""YAML text → plain data and the line of every value. Refuses what makes YAML treacherous.

Duplicate keys, aliases that expand without end, tags, merge keys, keys that are not text, and
numbers that JSON cannot hold are problems with a line, not surprises later.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import yaml

from tidemill.manifest.problems import Location, Problem, path_text

MAX_VALUES = 50_000
MAX_DEPTH = 40
_HARMLESS_DEPTH = 2000
_DEEP = f"nests deeper than {MAX_DEPTH} levels"
#: Records hold whole numbers of 64 bits.
MAX_INTEGER = 2**63
_PLAIN_TAGS = {
    "tag:yaml.org,2002:" + name
    for name in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")
}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Document:
    """One parsed file: its data, the line of every location in it, and what is wrong with it.

    ``origins`` are the locations at which values are written that stand at others by an alias.
    """

    file: str
    data: Any = None
    lines: dict[Location, int] = field(default_factory=dict)
    origins: dict[Location, Location] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, location: Location) -> int:
        """The line of a location, or of the nearest value around it."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def value_at(self, location: Location) -> Any:
        """The value at a location that exists."""
        value = self.data
        for part in location:
            value = value[part]
        return value

    def problem(self, location: Location, message: str) -> Problem:
        """A problem of this file at ``location``."""
        origin = self.origin_of(location)
        return Problem(
            self.file, self.line_of(location), path_text(location), message, path_text(origin)
        )

    def origin_of(self, location: Location) -> Location:
        """Where it is written: its own place, or that of the anchor around it."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.origins:
                return (*self.origins[location[:length]], *location[length:])
        return location


class _TooLargeError(Exception):
    """Aliases or nesting make more values than any manifest needs."""


class _Reader:
    """Walks the node tree that PyYAML composes (aliases are shared nodes there, so still small)."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.constructor = yaml.SafeLoader("")
        self.count = 0
        #: Where each node was read first. The tree keeps them all, so no identity comes twice.
        self.first: dict[int, Location] = {}

    def read(self, node: yaml.Node, location: Location) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            raise _TooLargeError(f"expands to more than {MAX_VALUES} values (an alias bomb?)")
        if len(location) > MAX_DEPTH:
            raise _TooLargeError(_DEEP)
        self.document.lines.setdefault(location, node.start_mark.line + 1)
        if (first := self.first.setdefault(id(node), location)) != location:
            self.document.origins[location] = first
        if node.tag not in _PLAIN_TAGS:
            self._add(node.start_mark.line + 1, location, f"tag {node.tag} is not read")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            line = key_node.start_mark.line + 1
            if not isinstance(key, str) or key == "<<":
                self._add(line, location, "keys must be plain text; merge keys are not read")
                continue
            if key in result:
                first = self.document.lines[(*location, key)]
                self._add(line, (*location, key), f"duplicate key, first written in line {first}")
                continue
            self.document.lines[(*location, key)] = line
            result[key] = self.read(value_node, (*location, key))
        return result

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if node.tag.endswith("timestamp"):
            return node.value
        try:
            value = self.constructor.construct_object(node)
        except (ValueError, LookupError, yaml.YAMLError):
            kind = node.tag.rpartition(":")[2]
            self._add(node.start_mark.line + 1, location, f"'{node.value}' is not of type {kind}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._add(node.start_mark.line + 1, location, f"'{node.value}' is not a finite number")
            return None
        if type(value) is int and not -MAX_INTEGER <= value < MAX_INTEGER:
            self._add(node.start_mark.line + 1, location, f"'{node.value}' has more than 64 bits")
            return None
        return value

    def _add(self, line: int, location: Location, message: str) -> None:
        origin = path_text(self.document.origin_of(location))
        self.document.problems.append(
            Problem(self.document.file, line, path_text(location), message, origin)
        )


def _too_deep(text: str) -> str:
    """Why a text nests so deeply that composing it would overflow the C stack; else empty.

    A level takes a bracket, or, at two a column at most, an indentation; so few texts need a look.
    """
    widest = max(map(len, text.splitlines()), default=0)
    if text.count("[") + text.count("{") + 2 * widest < _HARMLESS_DEPTH:
        return ""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            return _DEEP
    return ""


def read_yaml(text: str, *, file: str) -> Document:
    """Parse ``text``; never raises for bad YAML: the document carries the problems."""
    document = Document(file)
    node: yaml.Node | None = None
    line, message = 1, ""
    try:
        message = _too_deep(text)
        if not message and (node := yaml.compose(text, Loader=_Loader)) is None:
            message = "the file is empty"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        message = f"not YAML: {error.problem}"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not YAML: character {error.character:#04x} is not allowed"
    except yaml.YAMLError as error:
        message = f"not YAML: {error}"
    if node is not None:
        try:
            document.data = _Reader(document).read(node, ())
        except _TooLargeError as error:
            line, message = node.start_mark.line + 1, str(error)
    if message:
        document.problems.append(Problem(file, line, "", message))
    return document
