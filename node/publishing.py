"""Publishing a template over REST: for operators, for its patterns run on every row that follows it."""

from __future__ import annotations

from typing import Any

import msgspec

from node import audit
from node.access import require_role
from node.drafts import decoded
from node.errors import AlreadyExists
from node.model import Identity
from node.runtime import Node
from node.store import templates as store
from node.templates import compile_template, industry_template
from node.writing import Change, Claim, change

_document = msgspec.json.Decoder(dict[str, Any])


async def publish(node: Node, operator: Identity, body: bytes, claim: Claim | None) -> tuple[str, bool]:
    """Publish a version from a document like a file of node/industries/, the core block left out: (name, True)
    when it is new, (name, False) for the same again; AlreadyExists where the version has other content."""
    require_role(operator)
    template = industry_template(decoded(_document, body))
    compile_template(template)  # what cannot be compiled must not be published

    async def work(doing: Change) -> tuple[str, bool]:
        try:
            new = await store.publish(doing.conn, template.code, template.version, template.body, template.digest)
        except ValueError:
            raise AlreadyExists.of(what=f"template {template.name}") from None
        if new:
            await audit.record(doing.conn, operator.actor, "template.publish", template.name)
        return template.name, new

    return await change(node, work, claim=claim)
