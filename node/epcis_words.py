"""The words of EPCIS 2.0 and CBV 2.0 (ISO/IEC 19987 and 19988:2024) that the node knows, and how it names its own.

The lists of business steps and dispositions are those of GS1's published JSON schema of EPCIS 2.0.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "TransactionEvent",
    "TransformationEvent",
    "AssociationEvent",
)
ACTIONS = ("ADD", "OBSERVE", "DELETE")
CONTEXT = "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"
URI = r"^[A-Za-z][A-Za-z0-9+.\-]*:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+$"  # RFC 3986, the characters only

# Steps of the seven industries that CBV has no word for: the short form takes them as they are.
_OWN_STEPS = {"harvesting": ("采收", "Harvesting"), "transforming": ("加工", "Transforming")}
CBV_STEPS = {
    "accepting": ("验收", "Accepting"),
    "arriving": ("到达", "Arriving"),
    "assembling": ("装配", "Assembling"),
    "collecting": ("收集", "Collecting"),
    "commissioning": ("赋码", "Commissioning"),
    "consigning": ("托运", "Consigning"),
    "creating_class_instance": ("生产批次", "Producing a lot"),
    "cycle_counting": ("循环盘点", "Cycle counting"),
    "decommissioning": ("停用", "Decommissioning"),
    "departing": ("出发", "Departing"),
    "destroying": ("销毁", "Destroying"),
    "disassembling": ("拆解", "Disassembling"),
    "dispensing": ("配发", "Dispensing"),
    "encoding": ("写码", "Encoding"),
    "entering_exiting": ("出入", "Entering or leaving"),
    "holding": ("封存", "Holding"),
    "inspecting": ("检验", "Inspecting"),
    "installing": ("安装", "Installing"),
    "killing": ("标签灭活", "Killing the tag"),
    "loading": ("装载", "Loading"),
    "other": ("其他", "Other"),
    "packing": ("包装", "Packing"),
    "picking": ("拣货", "Picking"),
    "receiving": ("收货", "Receiving"),
    "removing": ("移除", "Removing"),
    "repackaging": ("改包装", "Repackaging"),
    "repairing": ("维修", "Repairing"),
    "replacing": ("更换", "Replacing"),
    "reserving": ("预留", "Reserving"),
    "retail_selling": ("销售", "Selling"),
    "sampling": ("抽样", "Sampling"),
    "sensor_reporting": ("传感器读数", "Sensor reading"),
    "shipping": ("发货", "Shipping"),
    "staging_outbound": ("备货待发", "Staging for departure"),
    "stock_taking": ("盘点", "Stock taking"),
    "stocking": ("上架", "Stocking"),
    "storing": ("入库", "Storing"),
    "transporting": ("运输", "Transporting"),
    "unloading": ("卸货", "Unloading"),
    "unpacking": ("拆包", "Unpacking"),
    "void_shipping": ("取消发货", "Shipping voided"),
}
BIZ_STEPS = {**CBV_STEPS, **_OWN_STEPS}
_DISPOSITIONS = (
    "active available completeness_inferred completeness_verified conformant container_closed container_open damaged "
    "destroyed dispensed disposed encoded expired in_progress in_transit inactive mismatch_class mismatch_instance "
    "mismatch_quantity needs_replacement no_pedigree_match non_conformant non_sellable_other partially_dispensed "
    "recalled reserved retail_sold returned sellable_accessible sellable_not_accessible stolen unavailable "
    "unknown"
)
DISPOSITIONS = frozenset(_DISPOSITIONS.split())
_MEASURED = (
    "AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Radioactivity Altitude AmountOfSubstance "
    "AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area Capacitance "
    "Conductance Conductivity Count Density Dimensionless DoseEquivalent DoseEquivalentRate DynamicViscosity "
    "ElectricCharge ElectricCurrent ElectricCurrentDensity ElectricFieldStrength Energy Exposure Force Frequency "
    "Illuminance Inductance Irradiance KinematicViscosity Length LinearMomentum Luminance LuminousFlux "
    "LuminousIntensity MagneticFlux MagneticFluxDensity MagneticVectorPotential Mass MassConcentration MassFlowRate "
    "MassPerAreaTime MemoryCapacity MolalityOfSolute MolarEnergy MolarMass MolarVolume Power Pressure RadiantFlux "
    "RadiantIntensity RelativeHumidity Resistance Resistivity SolidAngle SpecificVolume Speed SurfaceDensity "
    "SurfaceTension Temperature Time Torque Voltage Volume VolumeFlowRate VolumeFraction VolumetricFlux Wavenumber"
)
MEASURED = frozenset(_MEASURED.split())
# CBV's words as addresses, in the three forms in which they are sent: EPCIS 1.x, 2.0, and the context's expansion.
_CBV_ADDRESS = re.compile(
    r"(?:urn:epcglobal:cbv:(?:bizstep|disp|er):|https?://(?:ref|ns)\.gs1\.org/cbv/(?:BizStep|Disp|ER)-"
    r"|cbv:(?:BizStep|Disp|ER)-)([a-z_]+)"
)


def bare_word(text: str) -> str:
    """A CBV word without the address around it; anything else as it is."""
    found = _CBV_ADDRESS.fullmatch(text)
    return found.group(1) if found else text


def own_address(base: str, kind: str, text: str) -> str:
    """The address under which the node names what is no address: kind is step, disposition, place or event."""
    return f"{base}/vocabulary/{kind}/{quote(text, safe='')}"


def from_own_address(base: str, kind: str, text: str) -> str:
    """The text in such an address; anything else as it is."""
    start = f"{base}/vocabulary/{kind}/"
    inner = unquote(text[len(start) :]) if text.startswith(start) else ""
    return inner if inner and inner.isprintable() else text  # escaped control characters stay escaped
