"""The shapes of EPCIS 2.0 events in JSON, as GS1's published schema has them, for msgspec to hold a body against.

Members with a colon in their name are extensions: `node.epcis` takes them out first, where the standard allows any.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from node.epcis_words import CBV_STEPS, DISPOSITIONS, MEASURED, URI

_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+\-]\d\d:\d\d)$"
_OTHER = (
    r"(?!urn:epcglobal:cbv|https?://ns\.gs1\.org/cbv/)[A-Za-z][A-Za-z0-9+.\-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+"
)
_NO_VOC = r"(?!https?://(?:www\.)?gs1\.org/voc/)[A-Za-z][A-Za-z0-9+.\-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+"
_TRANSACTIONS = "bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt"
_COMPONENTS = (
    "x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting northing latitude "
    "longitude altitude"
)
_MOST = 255  # characters of one address: what the columns and a page can hold


def _words(*words: str) -> str:
    return "^(?:" + "|".join(sorted(words)) + f"|{_OTHER})$"


Uri = Annotated[str, msgspec.Meta(pattern=URI, max_length=_MOST)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]  # names a handle; read by node.epcis
Moment = Annotated[str, msgspec.Meta(pattern=_TIME)]
EventTime = Annotated[datetime, msgspec.Meta(tz=True)]
Offset = Annotated[str, msgspec.Meta(pattern=r"^[+\-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)$")]
Step = Annotated[str, msgspec.Meta(pattern=_words(*CBV_STEPS), max_length=_MOST)]
Disposition = Annotated[str, msgspec.Meta(pattern=_words(*DISPOSITIONS), max_length=_MOST)]
Reason = Annotated[str, msgspec.Meta(pattern=_words("did_not_occur", "incorrect_data"), max_length=_MOST)]
_TransactionType = Annotated[str, msgspec.Meta(pattern=_words(*_TRANSACTIONS.split()))]
_PartyType = Annotated[str, msgspec.Meta(pattern=_words("owning_party", "possessing_party", "location"))]
_Measured = Annotated[str, msgspec.Meta(pattern="^(?:" + "|".join(sorted(MEASURED)) + f"|{_NO_VOC})$")]
_Component = Annotated[str, msgspec.Meta(pattern=_words(*_COMPONENTS.split()))]


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Quantity(_Strict):
    epcClass: Code
    quantity: float = 0.0
    uom: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{2,3}$")] = "KGM"


class Place(_Strict):
    id: Uri


class Transaction(_Strict):
    bizTransaction: Uri
    type: _TransactionType = "po"


class Source(_Strict):
    type: _PartyType
    source: Uri


class Destination(_Strict):
    type: _PartyType
    destination: Uri


class Dispositions(_Strict):
    set: Annotated[list[Disposition], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET
    unset: Annotated[list[Disposition], msgspec.Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET


class Metadata(_Strict):
    time: Moment = ""
    deviceID: Uri = ""
    deviceMetadata: Uri = ""
    rawData: Uri = ""
    startTime: Moment = ""
    endTime: Moment = ""
    dataProcessingMethod: Uri = ""
    bizRules: Uri = ""


class Report(_Strict):
    type: _Measured
    exception: Annotated[str, msgspec.Meta(pattern=rf"^(?:ALARM_CONDITION|ERROR_CONDITION|{_NO_VOC})$")] = ""
    deviceID: Uri = ""
    deviceMetadata: Uri = ""
    rawData: Uri = ""
    dataProcessingMethod: Uri = ""
    bizRules: Uri = ""
    time: Moment = ""
    microorganism: Uri = ""
    chemicalSubstance: Uri = ""
    coordinateReferenceSystem: Uri = ""
    value: float = 0.0
    component: _Component = ""
    stringValue: str = ""
    booleanValue: bool = False
    hexBinaryValue: Annotated[str, msgspec.Meta(pattern="^[A-Fa-f0-9]+$")] = ""
    uriValue: Uri = ""
    minValue: float = 0.0
    maxValue: float = 0.0
    meanValue: float = 0.0
    sDev: float = 0.0
    percRank: float = 0.0
    percValue: float = 0.0
    uom: str = ""


class Sensor(_Strict):
    sensorReport: Annotated[list[Report], msgspec.Meta(min_length=1)]
    sensorMetadata: Metadata | msgspec.UnsetType = msgspec.UNSET


class Declaration(_Strict):
    declarationTime: EventTime
    reason: Reason = "incorrect_data"
    correctiveEventIDs: list[Uri] = []


class _Event(_Strict, kw_only=True):
    """What all types have. `recordTime` is the node's own to say: a given one is dropped."""

    type: str
    eventTime: EventTime
    eventTimeZoneOffset: Offset
    eventID: Uri = ""
    recordTime: Moment = ""
    certificationInfo: Uri | list[Uri] = ""
    errorDeclaration: Declaration | msgspec.UnsetType = msgspec.UNSET
    bizStep: Step = ""
    disposition: Disposition = ""
    readPoint: Place | msgspec.UnsetType = msgspec.UNSET
    bizLocation: Place | msgspec.UnsetType = msgspec.UNSET
    bizTransactionList: list[Transaction] = []
    sourceList: list[Source] = []
    destinationList: list[Destination] = []
    sensorElementList: list[Sensor] = []


class ObjectEvent(_Event, kw_only=True):
    action: Literal["ADD", "OBSERVE", "DELETE"]
    epcList: list[Code] = []
    quantityList: list[Quantity] = []
    persistentDisposition: Dispositions | msgspec.UnsetType = msgspec.UNSET
    ilmd: dict[Uri, Any] = {}


class AggregationEvent(_Event, kw_only=True):
    action: Literal["ADD", "OBSERVE", "DELETE"]
    parentID: Code = ""
    childEPCs: list[Code] = []
    childQuantityList: list[Quantity] = []


class AssociationEvent(AggregationEvent, kw_only=True):
    pass


class TransactionEvent(_Event, kw_only=True):
    action: Literal["ADD", "OBSERVE", "DELETE"]
    parentID: Code = ""
    epcList: list[Code] = []
    quantityList: list[Quantity] = []


class TransformationEvent(_Event, kw_only=True):
    inputEPCList: list[Code] = []
    inputQuantityList: list[Quantity] = []
    outputEPCList: list[Code] = []
    outputQuantityList: list[Quantity] = []
    transformationID: Uri = ""
    persistentDisposition: Dispositions | msgspec.UnsetType = msgspec.UNSET
    ilmd: dict[Uri, Any] = {}


FORMS: dict[str, type[_Event]] = {
    form.__name__: form
    for form in (ObjectEvent, AggregationEvent, AssociationEvent, TransactionEvent, TransformationEvent)
}
