"""What the codec refuses, in one exception family: a stable word, the position, the reason in two languages."""

from __future__ import annotations

_REASONS = {
    # handles
    "no_slash": ("there is no / between prefix and suffix", "前缀与后缀之间没有 /"),
    "prefix_form": ("a prefix is 2 digits, 3 to 5 digits and digits, with dots", "前缀须为 2 位.3–5 位.数字"),
    "prefix_length": ("a prefix has at most 64 characters", "前缀至多 64 个字符"),
    "empty_suffix": ("the suffix is empty", "后缀为空"),
    "too_long": ("a handle has at most 255 characters", "标识至多 255 个字符"),
    "suffix_length": ("an issued suffix has at most 200 characters", "签发的后缀至多 200 个字符"),
    "character": ("a character that no handle may hold", "含有标识不允许的字符"),
    "segment": ("empty, . and .. segments are refused", "不允许空段、. 与 .. 段"),
    "not_issued": ("issued suffixes use 0-9 A-Z a-z . _ - only", "签发的后缀仅限 0-9 A-Z a-z . _ -"),
    "reserved": ("the suffix belongs to a reserved family", "后缀属于保留系列"),
    "foreign_host": ("an address of another host", "其他主机的地址"),
    "two_handles": ("the address names two handles", "地址中含有两个不同的标识"),
    "encoding": ("the address is not percent-encoded UTF-8", "地址不是百分号编码的 UTF-8"),
    "not_utf8": ("the bytes are not UTF-8", "字节不是 UTF-8"),
    # GS1
    "input_length": ("nothing over 2,048 characters is read", "超过 2,048 个字符的内容不予读取"),
    "empty": ("there is nothing to read", "没有内容"),
    "digits": ("digits only here", "此处仅限数字"),
    "check_digit": ("the check digit is wrong", "校验位错误"),
    "gtin_length": ("a GTIN has 8, 12, 13 or 14 digits", "GTIN 为 8、12、13 或 14 位数字"),
    "ai_form": ("an element begins with 2 to 4 digits in parentheses", "要素应以括号内的 2–4 位数字开头"),
    "unknown_ai": ("not one of the common application identifiers", "不在常用应用标识符之列"),
    "value_length": ("the value is too short or too long for its application identifier", "数据长度与应用标识符不符"),
    "gs1_character": ("a character outside GS1's set 82", "含有 GS1 82 字符集之外的字符"),
    "date": ("not a date YYMMDD (day 00 is the month's end)", "不是 YYMMDD 日期（日为 00 表示月末）"),
    "pieces": (
        "piece and total are 01 to 99, piece <= total",
        "件号与总件数为 01–99，且件号不大于总件数",
    ),
    "duplicate_ai": (
        "the identifier stands twice with different values",
        "同一应用标识符出现两次且数据不同",
    ),
    "not_uri": ("not an http or https address", "不是 http 或 https 地址"),
    "no_key": ("no identification key (01, 00, 414 and others) to look up", "没有可查询的标识关键字（01、00、414 等）"),
    "qualifier": (
        "qualifiers stand once, in their order (22, 10, 21)",
        "限定符须按 22、10、21 的顺序且各一次",
    ),
    "not_attribute": ("this application identifier does not belong in the query", "该应用标识符不应出现在查询部分"),
    "unpaired": ("an identifier that does not go with this key", "含有不能与该关键字同时出现的应用标识符"),
    # other schemes
    "unknown_scheme": ("no known scheme fits this code", "无法识别该编码的体系"),
    "unknown_url": ("an address that holds no code we know", "地址中没有可识别的编码"),
    "oid_form": ("an OID is arcs of digits with dots: 0 to 2, then under 40 below 0 and 1", "OID 为以点分隔的数字弧"),
    "did_form": ("not the form of this DID method", "不符合该 DID 方法的格式"),
    "did_length": ("the suffix does not decode to 22 bytes", "后缀解码后不是 22 字节"),
    "credit_code": (
        "not a unified social credit code of 18 characters",
        "不是有效的 18 位统一社会信用代码",
    ),
    "code_form": ("not the form of this scheme", "不符合该体系的格式"),
    "not_capitals": ("digits and capital letters only here", "此处仅限数字与大写字母"),
    "check_character": ("the check character (ISO 7064 MOD 37,36) is wrong", "校验字符（ISO 7064 MOD 37,36）错误"),
    # minted serials
    "serial_form": (
        "a minted serial is a letter and 13 base 32 digits",
        "铸造序列号为 1 个字母加 13 位 32 进制字符",
    ),
    "serial_key": ("the serial names a key that the prefix does not have", "前缀没有该序列号所用的密钥"),
    "forged": ("the serial was not minted under this prefix", "该序列号不是在此前缀下铸造的"),
}

_UNREADABLE = {
    "form": "neither JSON nor a form that is known",
    "name": "an attribute's number that is not known",
    "value": "a kind of value that is not known",
    "cut": "it ends too early",
}


class InvalidCode(ValueError):
    """Not a code: `code` is a stable word, `position` the 0-based character where it goes wrong."""

    def __init__(self, code: str, position: int) -> None:
        self.code = code
        self.position = position
        self.reason, self.reason_zh = _REASONS[code]
        super().__init__(f"{self.reason} (at position {position})")

    def __reduce__(self) -> tuple[type[InvalidCode], tuple[str, int]]:
        return type(self), (self.code, self.position)


class InvalidHandle(InvalidCode):
    """Not a handle."""


class UnreadableContent(ValueError):
    """Stored content that is damaged, or was written by a newer release. `position` is its byte."""

    def __init__(self, what: str, position: int) -> None:
        self.what = what  # form, name, value, cut
        self.position = position
        super().__init__(f"stored content cannot be read: {_UNREADABLE[what]} (at byte {position})")

    def __reduce__(self) -> tuple[type[UnreadableContent], tuple[str, int]]:
        return type(self), (self.what, self.position)
