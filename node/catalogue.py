"""Published templates, compiled once a process: immutable, so a compiled one is right for ever."""

from __future__ import annotations

import re
from pathlib import Path

from node.errors import UnknownTemplate
from node.runtime import Connection, Node, ReadConnection, reading
from node.store import templates as store
from node.template_files import FOLDER
from node.templates import Compiled, Template, compile_template, load_industries

_NAME = re.compile(r"([a-z0-9][a-z0-9_.\-]{0,99})(?:@([1-9]\d{0,5}))?")


async def publish_industries(conn: Connection, folder: Path = FOLDER) -> None:
    """Publish the data files of `node/industries`; ValueError where a published version was edited."""
    for template in load_industries(folder):
        await store.publish(conn, template.code, template.version, template.body, template.digest)


async def by_id(node: Node, template_id: int, conn: ReadConnection | None = None) -> Compiled | None:
    """The compiled template of a stored handle; None for 0, a handle without one."""
    if template_id == 0:
        return None
    known: Compiled | None = node.templates.get(template_id)
    if known is not None:
        return known
    if conn is None:
        async with reading(node) as own:
            return _keep(node, await store.by_id(own, template_id))[1]
    return _keep(node, await store.by_id(conn, template_id))[1]


async def by_name(node: Node, name: str, conn: ReadConnection) -> tuple[int, Compiled]:
    """(id, compiled) of `code@version`, or of the newest version of `code`; raises UnknownTemplate."""
    known: tuple[int, Compiled] | None = node.template_names.get(name)
    if known is not None:
        return known
    found = _NAME.fullmatch(name)
    if not found:
        raise UnknownTemplate.of(template=name[:100])
    code, version = found.groups()
    record = await store.by_name(conn, code, int(version) if version else None)
    if record is None:
        raise UnknownTemplate.of(template=name)
    kept = _keep(node, record)
    if version:  # a bare code may mean another version tomorrow
        node.template_names[name] = kept
    return kept


async def learn(node: Node, name: str | None) -> None:
    """Make sure that `known` knows a record's template: another worker may have published and kept it."""
    if name is not None and name not in node.template_names:
        async with reading(node) as conn:
            await by_name(node, name, conn)


def known(node: Node, name: str | None) -> Compiled | None:
    """The compiled template of a record, by the name that it says; None for a record without one."""
    if name is None:
        return None
    compiled: Compiled = node.template_names[name][1]
    return compiled


async def every(node: Node) -> list[Template]:
    async with reading(node) as conn:
        return [_keep(node, record)[1].template for record in await store.every(conn)]


def _keep(node: Node, record: tuple[int, bytes] | None) -> tuple[int, Compiled]:
    if record is None:
        raise UnknownTemplate.of(template="?")
    template_id, body = record[0], record[1]
    compiled = node.templates.get(template_id)
    if compiled is None:
        compiled = node.templates[template_id] = compile_template(Template.from_body(body))
        node.template_names[compiled.template.name] = (template_id, compiled)
    return template_id, compiled


async def fetch(node: Node, name: str) -> Template:
    """The published template of that name; raises UnknownTemplate."""
    async with reading(node) as conn:
        return (await by_name(node, name, conn))[1].template
