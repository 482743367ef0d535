"""The words of refusals, of schemes and of places, in both languages. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import (
    HandleGone,
    HandleNotFound,
    InvalidHandleError,
    NodeError,
    NotAuthenticated,
    NotFound,
    TooManyAttempts,
    Unavailable,
    UnknownPrefix,
)


@dataclass(slots=True, frozen=True)
class Advice:
    """A refusal's headline and what the reader may do next. `says`: the error's own words stand between."""

    title: str
    title_en: str
    advice: str
    advice_en: str
    says: bool = True


# A handle that nobody registered and a serial that nobody minted are one page: which of them it is would tell a
# guesser how near he came. The error's own words differ, so neither shows them.
NO_SUCH_CODE = Advice(
    "没有这个标识",
    "No such code",
    "请核对是否录入有误。若由商品上的码扫得，请勿购买；已购买的请保留商品与包装，并向销售者核实。",
    "Check for a typing slip. If it was on goods, do not buy them; if you have, keep them and ask the seller.",
    says=False,
)
ADVICE: dict[type[NodeError], Advice] = {
    HandleNotFound: NO_SUCH_CODE,
    UnknownPrefix: Advice(
        "不是本节点的标识",
        "Not a code of this node",
        "它可能属于其他节点，也可能是伪造的码。请核对录入，或向商品上标明的企业核实。",
        "It may belong to another node, or be made up. Check your typing, or ask the enterprise on the label.",
    ),
    HandleGone: Advice(
        "标识已注销",
        "Code deleted",
        "该标识不再对应在售商品。若商品上仍有此码，请勿购买，并联系企业或销售者。",
        "No goods on sale should bear this code. If some do, do not buy them; ask the enterprise or the seller.",
    ),
    InvalidHandleError: Advice(
        "标识格式不正确",
        "Not a valid code",
        "标识形如 88.999.1001/ABC-001：前缀、斜线、后缀。请核对后重新输入。",
        "A code looks like 88.999.1001/ABC-001: prefix, slash, suffix. Please check it and type it again.",
    ),
    Unavailable: Advice(
        "服务暂不可用",
        "Unavailable just now",
        "这不说明商品有问题。请过几秒刷新本页。",
        "This says nothing about the goods. Please reload in a few seconds.",
    ),
    TooManyAttempts: Advice(
        "查询过于频繁",
        "Too many look-ups",
        "这不说明商品有问题。请稍候再刷新本页。",
        "This says nothing about the goods. Please wait a little and reload.",
    ),
    NotAuthenticated: Advice(
        "需要有效的密钥",
        "A valid key is needed",
        "公众查询无需登录：请不带密钥重新打开本页。",
        "Anybody may look up a code: open this page again without a key.",
    ),
    NotFound: Advice(
        "没有这个页面",
        "No such page",
        "请核对网址，或在首页输入商品上的标识。",
        "Check the address, or type the code on the goods into the field of the first page.",
        says=False,
    ),
}
WRONG_REQUEST = Advice("请求无法处理", "This cannot be answered", "请核对后重试。", "Please check and try again.")
OUR_FAULT = Advice(
    "页面暂时出错",
    "Something went wrong here",
    "这不说明商品有问题。请稍后再试。",
    "This says nothing about the goods. Please try again later.",
)


def advice_for(error: NodeError, status: int) -> Advice:
    """By the class of the error or of one it descends from."""
    for kind in type(error).__mro__:
        if kind in ADVICE:
            return ADVICE[kind]
    return OUR_FAULT if status >= 500 else WRONG_REQUEST


_LOOK_FOR = "请在包装上找以 88. 开头、含斜线的标识或二维码。"
_LOOK_FOR_EN = "Look on the pack for a code that begins with 88. and has a slash, or for its QR code."
# Scheme of handle_codec.recognise -> (what it is called, what it says), both languages.
SCHEMES: dict[str, tuple[str, str, str, str]] = {
    "gtin": (
        "商品条码（GTIN）",
        "a bar code number (GTIN)",
        f"同一种商品共用一个条码，它说不出手中这一件的来历。{_LOOK_FOR}",
        f"All goods of a kind share one: it cannot tell where these very goods come from. {_LOOK_FOR_EN}",
    ),
    "sscc": (
        "物流单元代码（SSCC）",
        "a number of a logistic unit (SSCC)",
        f"它标在托盘或货箱上，供承运方使用。{_LOOK_FOR}",
        f"It is on pallets and cases, for carriers. {_LOOK_FOR_EN}",
    ),
    "drug_code": (
        "药品追溯码",
        "a drug trace code",
        "药品请以国家药品追溯渠道的查询为准，或向药店、医院核实。",
        "For drugs the national drug trace service decides; or ask the pharmacy or the hospital.",
    ),
    "doi": (
        "文献标识（DOI）",
        "an identifier of a publication (DOI)",
        f"它标识论文或数据，不标识商品。{_LOOK_FOR}",
        f"It names papers and data, not goods. {_LOOK_FOR_EN}",
    ),
    "credit_code": (
        "统一社会信用代码",
        "an enterprise's credit code",
        f"它标识企业，不标识商品。{_LOOK_FOR}",
        f"It names an enterprise, not goods. {_LOOK_FOR_EN}",
    ),
    "foreign_handle": (
        "其他机构的 Handle 标识",
        "a handle of another authority",
        "它不由本节点解析，请向商品上标明的企业核实。",
        "It is not resolved at this node: ask the enterprise on the label.",
    ),
}
_OTHER = ("{name} 标识", "a code of another scheme ({name})")
_NAMES = {
    "gs1_digital_link": "GS1 Digital Link",
    "gs1_elements": "GS1",
    "oid": "OID",
    "ecode": "Ecode",
    "vaa": "VAA",
    "ma": "MA",
    "did": "DID",
}


def scheme_words(scheme: str) -> tuple[str, str, str, str]:
    """(name, English name, advice, English advice) of a scheme that is not ours."""
    if scheme in SCHEMES:
        return SCHEMES[scheme]
    name, name_en = (text.format(name=_NAMES.get(scheme, scheme)) for text in _OTHER)
    return name, name_en, _LOOK_FOR, _LOOK_FOR_EN


COUNTIES_EN = {
    "341302": "Yongqiao",
    "341321": "Dangshan",
    "341322": "Xiaoxian",
    "341323": "Lingbi",
    "341324": "Sixian",
}
