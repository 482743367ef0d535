"""What EPCIS 2.0 asks of an event beyond the shapes of its members, and what the node asks of its texts and times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from node.drafts import CONTROL
from node.errors import InvalidRow, NodeError, RowError

AHEAD = timedelta(days=1)  # clocks of offline lines are wrong; further ahead than this is a slip of the pen
_FIRST_YEAR = 1970  # no event of ours is older; years near 1 and 9999 do not survive a change of zone
_DEEP = 16  # levels of a body; sensor reports of the standard need six
_LONG = 2000  # characters of any text in an event


def refusal(name: str, code: str, zh: str, en: str) -> NodeError:
    return InvalidRow.of(RowError(name, code, zh, en))


def utc(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def check_time(when: datetime, name: str) -> None:
    """Raises InvalidRow for a time before 1970 or more than a day ahead of the node's clock."""
    if not _FIRST_YEAR < when.year < 9000:
        raise refusal(name, "out_of_range", "须在 1971 年以后", "must be after 1970")
    if when > datetime.now(UTC) + AHEAD:
        raise refusal(name, "out_of_range", "晚于现在一天以上", "is more than a day ahead")


def check_texts(value: Any, path: str = "", depth: int = 0) -> None:
    """Raises InvalidRow for control characters, for what is too long or too deep."""
    if depth > _DEEP:
        raise refusal(path, "too_deep", f"嵌套超过 {_DEEP} 层", f"is nested more than {_DEEP} levels")
    if isinstance(value, str):
        if len(value) > _LONG:
            raise refusal(path, "too_long", f"至多 {_LONG} 个字符", f"at most {_LONG} characters")
        if CONTROL.search(value) or "\u2028" in value or "\u2029" in value:
            raise refusal(path, "control_character", "含控制字符", "holds a control character")
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_texts(key, path)
            check_texts(inner, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            check_texts(inner, f"{path}[{number}]", depth + 1)


def check_rules(kind: str, form: Any, event: dict[str, Any], handles: int) -> None:
    """One error for each field of an event of this kind; `handles`: how many it names."""
    errors = [RowError(*fault) for fault in _faults(kind, form, event)]
    if not errors and not handles:
        errors = [RowError("", "no_handle", "未涉及任何标识", "names no handle")]
    if errors:
        raise InvalidRow.of(*errors)


def _faults(kind: str, form: Any, event: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    action = getattr(form, "action", "")
    if "ilmd" in event and kind == "ObjectEvent" and action != "ADD":
        yield "ilmd", "only_with_add", "仅可用于 action 为 ADD 的事件", "stands only with action ADD"
    if "persistentDisposition" in event and not event["persistentDisposition"]:
        yield "persistentDisposition", "required", "须有 set 或 unset", "needs set or unset"
    if kind in ("AggregationEvent", "AssociationEvent"):
        if not form.parentID and (action != "OBSERVE" or kind == "AssociationEvent"):
            yield "parentID", "required", "必填", "is required"
        if not form.childEPCs and not form.childQuantityList and action != "DELETE":
            yield "childEPCs", "required", "须有 childEPCs 或 childQuantityList", "or childQuantityList is required"
    if kind == "TransactionEvent":
        if not form.bizTransactionList:
            yield "bizTransactionList", "required", "必填", "is required"
        if "epcList" not in event and not form.quantityList and action != "DELETE":
            yield "epcList", "required", "须有 epcList 或 quantityList", "or quantityList is required"
    if kind == "TransformationEvent":
        given, made = form.inputEPCList or form.inputQuantityList, form.outputEPCList or form.outputQuantityList
        for name, there in (("inputEPCList", given), ("outputEPCList", made)):
            if not there and not (form.transformationID and (given or made)):
                yield name, "required", "须有投入与产出，或 transformationID", "inputs and outputs, or transformationID"
