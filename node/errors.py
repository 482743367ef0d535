"""One exception tree. Each error carries a stable code, the Handle protocol's response code and both languages.

No HTTP here: `node.http.problems` maps `kind` to a status. Response codes: RFC 3652 and Handle.Net 9 (1 success,
2 error, 3 busy, 100 not found, 101 exists, 102 invalid handle, 202 invalid value, 301 not responsible,
401 insufficient permission, 402 authentication needed, 403 authentication failed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self


@dataclass(slots=True, frozen=True)
class RowError:
    """What is wrong with one field of one row; `field` is a dotted path such as `attributes.harvest_date`."""

    field: str
    code: str
    zh: str
    en: str

    def as_dict(self, row: int) -> dict[str, Any]:
        return {"row": row, "field": self.field, "code": self.code, "detail": f"{self.zh} / {self.en}"}


@dataclass(eq=False)
class NodeError(Exception):
    """Base of all that the node refuses. `datum` fills the texts; `errors` names fields where there are some."""

    datum: dict[str, Any] = field(default_factory=dict)
    errors: list[RowError] = field(default_factory=list)

    code: ClassVar[str] = "internal"
    shown: ClassVar[str] = ""  # the code that a reader is given, where it is another
    response_code: ClassVar[int] = 2
    kind: ClassVar[str] = "internal"  # bad_request, forbidden, not_found, ... see http.problems
    zh: ClassVar[str] = "内部错误"
    en: ClassVar[str] = "Internal error"

    @classmethod
    def of(cls, *errors: RowError, **datum: Any) -> Self:
        """The error about `datum`, e.g. `UnknownPrefix.of(prefix="88.999.1")`."""
        return cls(datum, list(errors))

    @property
    def detail(self) -> str:
        return f"{self.zh.format_map(self.datum)} / {self.en.format_map(self.datum)}"

    def __str__(self) -> str:
        named = [f"{e.field}: {e.zh} / {e.en}" for e in self.errors]
        return "; ".join([self.detail, *named])


class BadRequest(NodeError):
    code, response_code, kind = "bad_request", 4, "bad_request"
    zh, en = "请求无效：{reason_zh}", "Bad request: {reason}"


class HeadTooLarge(NodeError):
    code, response_code, kind = "head_too_large", 4, "head_too_large"
    zh, en = "请求头超过上限 16 KiB", "The headers are over their limit of 16 KiB"


class BrokenBody(NodeError):
    code, response_code, kind = "broken_body", 4, "bad_request"
    zh, en = "请求体无法解析：{reason}", "The body cannot be read: {reason}"


class WrongContentType(NodeError):
    code, response_code, kind = "wrong_content_type", 4, "unsupported_media"
    zh, en = "内容类型须为 {expected}，收到 {got}", "Content type must be {expected}, got {got}"


class BodyTooLarge(NodeError):
    code, response_code, kind = "body_too_large", 4, "too_large"
    zh, en = "请求体超过上限 {limit} 字节", "The body is over its limit of {limit} bytes"


class TooManyRows(NodeError):
    code, response_code, kind = "too_many_rows", 4, "too_large"
    zh, en = "一批最多 {limit} 行，收到 {got} 行", "At most {limit} rows in a batch, got {got}"


class InvalidHandleError(NodeError):
    code, response_code, kind = "invalid_handle", 102, "invalid"
    zh, en = "标识无效：{reason_zh}（位置 {position}）", "Invalid handle: {reason} (at position {position})"


class ReservedSuffix(NodeError):
    code, response_code, kind = "reserved_suffix", 102, "invalid"
    zh, en = "后缀 {suffix} 属于保留系列", "Suffix {suffix} belongs to a reserved family"


class ForgedSerial(NodeError):
    """A suffix of the minted family that was not minted under its prefix."""

    code, response_code, kind = "forged_serial", 102, "invalid"
    zh, en = (
        "后缀 {suffix} 具有铸造序列号的形式，但并非在前缀 {prefix} 下铸造",
        "Suffix {suffix} has the form of a minted serial, but was not minted under prefix {prefix}",
    )


class SerialNotUsable(NodeError):
    code, response_code, kind = "serial_not_usable", 102, "conflict"
    zh, en = "序列号 {serial} 已作废或召回，不能再用", "Serial {serial} is {state} and cannot be used"


class LoopbackAddress(NodeError):
    code, response_code, kind = "loopback_address", 2, "conflict"
    zh, en = (
        "PUBLIC_URL 为本机地址 {url}，印出的二维码无人能打开；请先设置公开地址",
        "PUBLIC_URL is the loopback address {url}: nobody could open what is printed; set the public one first",
    )


class ChunkDiffers(NodeError):
    code, response_code, kind = "chunk_differs", 101, "conflict"
    zh, en = (
        "导入 {id} 的分块 {chunk} 已收到，且内容不同",
        "Chunk {chunk} of import {id} arrived before, with another body",
    )


class ImportClosed(NodeError):
    code, response_code, kind = "import_closed", 101, "conflict"
    zh, en = "导入 {id} 已结束", "Import {id} is closed"


class ImportIncomplete(NodeError):
    code, response_code, kind = "import_incomplete", 2, "conflict"
    zh, en = "导入 {id} 缺少分块：{missing}", "Import {id} lacks chunks: {missing}"


class ImportRefused(NodeError):
    code, response_code, kind = "import_refused", 202, "invalid"
    zh, en = "无法导入：{reason_zh}", "Cannot be imported: {reason}"


class SerialsExhausted(NodeError):
    code, response_code, kind = "serials_exhausted", 2, "conflict"
    zh, en = (
        "前缀 {prefix} 的序列号或密钥已用尽，请申请新的前缀",
        "Prefix {prefix} has no serials or keys left; apply for a second prefix",
    )


class InvalidRow(NodeError):
    """Some fields of a row are wrong; `errors` has one entry for each."""

    code, response_code, kind = "invalid_row", 202, "invalid"
    zh, en = "有字段不符合要求", "Some fields are not as required"


class HostNotProved(NodeError):
    """The proof was not found; `errors` says for each way what was found instead."""

    code, response_code, kind = "host_not_proved", 401, "conflict"
    zh, en = "未找到域名 {host} 的验证记录", "No proof of the host {host} was found"


class TooManyHosts(NodeError):
    code, response_code, kind = "too_many_hosts", 2, "conflict"
    zh, en = "每家企业至多 {limit} 个域名，请先删除一个", "At most {limit} hosts; delete one first"


class NotReached(NodeError):
    """Somebody else's server did not do what was asked; datum: host, why (a code), reason_zh, reason, definite:
    whether the answer was a clear no, and not just none."""

    code, response_code, kind = "not_reached", 2, "conflict"
    zh, en = "{host}：{reason_zh}", "{host}: {reason}"


class UnknownTemplate(NodeError):
    code, response_code, kind = "unknown_template", 202, "invalid"
    zh, en = "没有已发布的模板 {template}", "There is no published template {template}"


class UnknownLot(NodeError):
    code, response_code, kind = "unknown_lot", 202, "invalid"
    zh, en = "批次 {lot} 不存在或不可用", "Lot {lot} does not exist or cannot take items"


class UnknownPrefix(NodeError):
    code, response_code, kind = "unknown_prefix", 301, "not_found"
    zh, en = "前缀 {prefix} 不在本节点", "Prefix {prefix} does not live at this node"


class ForeignPrefix(NodeError):
    code, response_code, kind = "foreign_prefix", 401, "forbidden"
    zh, en = "前缀 {prefix} 不属于本企业", "Prefix {prefix} is not yours"


class PrefixNotActive(NodeError):
    code, response_code, kind = "prefix_not_active", 401, "forbidden"
    zh, en = (
        "前缀 {prefix} 当前状态为{status_zh}，不能写入",
        "Prefix {prefix} is {status}; nothing can be written under it",
    )


class HandleNotFound(NodeError):
    code, response_code, kind = "handle_not_found", 100, "not_found"
    zh, en = "没有标识 {handle}", "There is no handle {handle}"


class ForgedHandle(HandleNotFound):
    """Resolved, it has the form of a minted serial, and was never minted. Counted apart by its code, and shown as any
    handle that does not exist: the difference would help only who tries serials."""

    code, shown = "forged_serial", HandleNotFound.code


class HandleGone(NodeError):
    """A tombstone; datum: handle, reason, successor, deleted_at."""

    code, response_code, kind = "handle_gone", 100, "gone"
    zh, en = "标识 {handle} 已注销：{reason}", "Handle {handle} was deleted: {reason}"


class HandleConflict(NodeError):
    code, response_code, kind = "handle_conflict", 101, "conflict"
    zh, en = (
        "标识 {handle} 已存在且内容不同（版本 {version}）",
        "Handle {handle} exists with other content (version {version})",
    )


class HandleDeleted(NodeError):
    code, response_code, kind = "handle_deleted", 101, "conflict"
    zh, en = "标识 {handle} 已注销，后缀不可再用", "Handle {handle} was deleted; a suffix is never used again"


class DuplicateInBatch(NodeError):
    code, response_code, kind = "duplicate_in_batch", 101, "conflict"
    zh, en = "标识 {handle} 在本批第 {first} 行已出现", "Handle {handle} already stands in row {first} of this batch"


class StaleVersion(NodeError):
    code, response_code, kind = "stale_version", 101, "precondition_failed"
    zh, en = "If-Match 为 {given}，当前版本为 {version}", "If-Match names {given}, the version is {version}"


class VersionRequired(NodeError):
    code, response_code, kind = "version_required", 4, "precondition_required"
    zh, en = "请以 If-Match 给出版本", "If-Match with the version is required"


class LotTemplate(NodeError):
    code, response_code, kind = "lot_template", 202, "invalid"
    zh, en = "批次 {lot} 使用模板 {expected}，单品给出 {template}", "Lot {lot} uses template {expected}, got {template}"


class LotInUse(NodeError):
    code, response_code, kind = "lot_in_use", 101, "conflict"
    zh, en = "批次 {lot} 已有单品：{reason_zh}", "Lot {lot} has items: {reason}"


class NotAuthenticated(NodeError):
    code, response_code, kind = "not_authenticated", 402, "unauthenticated"
    zh, en = "需要有效的密钥", "A valid key is needed"


class KeyRevoked(NodeError):
    code, response_code, kind = "key_revoked", 403, "unauthenticated"
    zh, en = "密钥已吊销或过期", "The key is revoked or has expired"


class TooManyKeys(NodeError):
    code, response_code, kind = "too_many_keys", 2, "conflict"
    zh, en = "每家企业至多 {limit} 个有效密钥，请先吊销一个", "At most {limit} live keys; revoke one first"


class NotAllowed(NodeError):
    code, response_code, kind = "not_allowed", 401, "forbidden"
    zh, en = "没有权限：{action}", "Not allowed: {action}"


class NotFound(NodeError):
    code, response_code, kind = "not_found", 100, "not_found"
    zh, en = "没有 {what}", "There is no {what}"


class AlreadyDecided(NodeError):
    code, response_code, kind = "already_decided", 101, "conflict"
    zh, en = "申请 {id} 当前状态为 {status}，不能再审", "Application {id} is {status} and cannot be decided again"


class AlreadyExists(NodeError):
    code, response_code, kind = "already_exists", 101, "conflict"
    zh, en = "{what} 已存在且内容不同", "{what} exists with other content"


class EventConflict(AlreadyExists):
    """An event id that was used for other content; datum: event_id, stored, given (time and digest of each)."""

    zh, en = (
        "事件 {event_id} 已存在且内容不同（已有：{stored}；收到：{given}）",
        "Event {event_id} exists with other content (stored: {stored}; given: {given})",
    )


class IdempotencyMismatch(NodeError):
    code, response_code, kind = "idempotency_mismatch", 4, "unprocessable"
    zh, en = "同一 Idempotency-Key 曾用于不同内容", "This Idempotency-Key was used with another body"


class SecretShownOnce(NodeError):
    code, response_code, kind = "secret_shown_once", 4, "conflict"
    zh, en = "此请求已完成；其密钥只显示一次", "This request was done before; its secret is shown only once"


class TooManyAttempts(NodeError):
    """Locked out or over a limit; datum: retry_after in seconds."""

    code, response_code, kind = "too_many_attempts", 3, "too_many"
    zh, en = "尝试过多，请在 {retry_after} 秒后再试", "Too many attempts; try again in {retry_after} s"


class TooManyRequests(NodeError):
    """One enterprise has too many heavy requests waiting; datum: what, limit, retry_after in seconds."""

    code, response_code, kind = "too_many_requests", 3, "too_many"
    zh, en = (
        "本企业已有 {limit} 个同类请求（{what}）在排队，请在 {retry_after} 秒后重试",
        "{limit} requests of yours ({what}) are waiting already; try again in {retry_after} s",
    )


class Unavailable(NodeError):
    """A store is away; datum: what, retry_after in seconds. The outcome of a write may be unknown: ask again."""

    code, response_code, kind = "unavailable", 3, "unavailable"
    zh, en = "{what} 暂不可用，请稍后重试", "{what} is unavailable; please try again"


class Overloaded(Unavailable):
    """More is asked than can be answered in time; datum: retry_after in seconds. Nothing was done."""

    zh, en = "节点繁忙，请在 {retry_after} 秒后重试", "The node is busy; try again in {retry_after} s"


class TemplateError(NodeError):
    """A template that cannot be used; datum: file, field, reason_zh, reason."""

    code, response_code, kind = "invalid_template", 202, "invalid"
    zh, en = "模板 {file} 的 {field} 不正确：{reason_zh}", "Template {file}, {field}: {reason}"


class UnreadableRow(NodeError):
    """What is stored of a handle is damaged, or newer code wrote it: the database's fault, not the caller's."""

    code = "unreadable_row"
    zh, en = "标识后缀 {suffix} 的存储内容无法读取：{reason}", "The row of suffix {suffix} cannot be read: {reason}"
