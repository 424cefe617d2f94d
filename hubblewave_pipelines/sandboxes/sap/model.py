"""The services of the SAP sandbox: entity sets, their properties and how each of them pages and tells of changes."""

from dataclasses import dataclass, field

V2_ROOT = "/sap/opu/odata/sap"
V4_ROOT = "/sap/opu/odata4/sap"


@dataclass(frozen=True, slots=True)
class Property:
    """A property of an entity type. `edm` is its V2 type; V4 names follow from it and `shown`.

    `alpha` is the width to which a value of digits only is padded before it is compared or sorted
    (the conversion exit ALPHA): the padded form never leaves the system.
    """

    name: str
    edm: str  # String, Boolean, Int32, Int64, Double, Decimal, Guid, DateTime, DateTimeOffset, Time
    label: str = ""
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    alpha: int = 0
    shown: str = ""  # sap:display-format: Date, NonNegative, UpperCase
    creatable: bool = True
    updatable: bool = True
    filterable: bool = True
    sortable: bool = True

    @property
    def is_date(self) -> bool:
        return self.edm == "DateTime" and self.shown == "Date"


@dataclass(frozen=True, slots=True)
class EntityType:
    """The shape of a table's rows, shared by every service that shows the table."""

    name: str
    keys: tuple[str, ...]
    properties: tuple[Property, ...]
    label: str
    changed: str | None = None  # the property that an edit moves
    by_name: dict[str, Property] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        self.by_name.update({one.name: one for one in self.properties})


@dataclass(frozen=True, slots=True)
class EntitySet:
    name: str
    type: EntityType
    page: int | None = None  # the server's own page size; None: it gives everything asked for
    tracks: bool = False  # offers delta links
    writable: bool = True
    items: tuple[str, str, str] | None = None  # navigation property, its set, the key they share


@dataclass(frozen=True, slots=True)
class Service:
    name: str  # as the catalog calls it
    path: str  # of its root, without the slash at the end
    version: int  # 2 or 4
    namespace: str
    title: str
    sets: tuple[EntitySet, ...]

    def find(self, name: str) -> EntitySet | None:
        return next((found for found in self.sets if found.name == name), None)


def _text(name: str, length: int, label: str = "", **rest: object) -> Property:
    return Property(name, "String", label or name, length=length, **rest)  # type: ignore[arg-type]


def _key(name: str, length: int, label: str, alpha: int = 0) -> Property:
    return _text(name, length, label, nullable=False, alpha=alpha, updatable=False)


def _date(name: str, label: str = "", **rest: object) -> Property:
    return Property(name, "DateTime", label or name, precision=0, shown="Date", **rest)  # type: ignore[arg-type]


def _amount(name: str, precision: int, scale: int, label: str = "") -> Property:
    return Property(name, "Decimal", label or name, precision=precision, scale=scale)


def _stamp(name: str, label: str) -> Property:
    return Property(
        name, "DateTimeOffset", label, precision=7, creatable=False, updatable=False, nullable=True
    )


PARTNER = EntityType(
    "A_BusinessPartnerType",
    ("BusinessPartner",),
    (
        _key("BusinessPartner", 10, "Business Partner", alpha=10),
        _text("BusinessPartnerCategory", 1, "BP Category"),
        _text("BusinessPartnerFullName", 81, "Full Name", updatable=False),
        _text("FirstName", 40, "First Name"),
        _text("LastName", 40, "Last Name"),
        _text("OrganizationBPName1", 40, "Name 1"),
        _text("SearchTerm1", 20, "Search Term 1", shown="UpperCase"),
        _text("Industry", 4, "Industry key"),  # NUMC: digits, leading zeros kept
        _text("CorrespondenceLanguage", 2, "Language"),
        Property("BusinessPartnerUUID", "Guid", "BP UUID", updatable=False, creatable=False),
        Property("BusinessPartnerIsBlocked", "Boolean", "Central Block"),
        _date("BirthDate", "Date of Birth"),
        _date("CreationDate", "Created On", creatable=False, updatable=False),
        Property("CreationTime", "Time", "Created At", creatable=False, updatable=False),
        _date("LastChangeDate", "Changed On", creatable=False, updatable=False),
        Property("LastChangeTime", "Time", "Changed At", creatable=False, updatable=False),
    ),
    "Business Partner",
    changed="LastChangeDate",
)

ADDRESS = EntityType(
    "A_BusinessPartnerAddressType",
    ("BusinessPartner", "AddressID"),
    (
        _key("BusinessPartner", 10, "Business Partner", alpha=10),
        _key("AddressID", 10, "Address Number", alpha=10),
        _text("StreetName", 60, "Street"),
        _text("HouseNumber", 10, "House Number"),
        _text("PostalCode", 10, "Postal Code"),
        _text("CityName", 40, "City"),
        _text("Country", 3, "Country/Region"),
        Property("ValidityStartDate", "DateTimeOffset", "Valid From", precision=0),
    ),
    "Address",
)

ORDER = EntityType(
    "A_SalesOrderType",
    ("SalesOrder",),
    (
        _key("SalesOrder", 10, "Sales Order", alpha=10),
        _text("SalesOrderType", 4, "Sales Order Type"),
        _text("SoldToParty", 10, "Sold-to Party", alpha=10),
        _text("PurchaseOrderByCustomer", 35, "Customer Reference"),
        _amount("TotalNetAmount", 16, 3, "Net Value"),
        _text("TransactionCurrency", 5, "Document Currency"),
        _text("OverallSDProcessStatus", 1, "Overall Status", filterable=False),
        _date("RequestedDeliveryDate", "Requested Delivery Date"),
        _date("CreationDate", "Created On", creatable=False, updatable=False),
        _stamp("LastChangeDateTime", "Time Stamp"),
    ),
    "Sales Order Header",
    changed="LastChangeDateTime",
)

ITEM = EntityType(
    "A_SalesOrderItemType",
    ("SalesOrder", "SalesOrderItem"),
    (
        _key("SalesOrder", 10, "Sales Order", alpha=10),
        _key("SalesOrderItem", 6, "Sales Order Item", alpha=6),
        _text("Material", 40, "Material"),
        _text("SalesOrderItemText", 40, "Item Description"),
        _amount("RequestedQuantity", 15, 3, "Order Quantity"),
        _text("RequestedQuantityUnit", 3, "Sales Unit"),
        _amount("NetAmount", 16, 3, "Net Value"),
    ),
    "Sales Order Item",
)

PRODUCT = EntityType(
    "A_ProductType",
    ("Product",),
    (
        _key("Product", 40, "Product"),
        _text("ProductType", 4, "Product Type"),
        _text("ProductDescription", 40, "Description"),
        _amount("GrossWeight", 13, 3, "Gross Weight"),
        _text("WeightUnit", 3, "Unit of Weight"),
        Property("IsMarkedForDeletion", "Boolean", "DF at Client Level"),
        Property("NumberOfPieces", "Int32", "Pieces"),
        Property("StockInBaseUnit", "Int64", "Stock"),
        Property("Fineness", "Double", "Fineness"),
        _date("CrossPlantStatusValidityDate", "Valid from"),
        _stamp("LastChangeDateTime", "Time Stamp"),
    ),
    "Product",
    changed="LastChangeDateTime",
)

SERVICES = (
    Service(
        "API_BUSINESS_PARTNER",
        f"{V2_ROOT}/API_BUSINESS_PARTNER",
        2,
        "API_BUSINESS_PARTNER",
        "Remote API for Business Partner",
        (
            EntitySet("A_BusinessPartner", PARTNER),
            EntitySet("A_BusinessPartnerAddress", ADDRESS),
        ),
    ),
    Service(
        "API_SALES_ORDER_SRV",
        f"{V2_ROOT}/API_SALES_ORDER_SRV",
        2,
        "API_SALES_ORDER_SRV",
        "Remote API for Sales Order",
        (
            EntitySet(
                "A_SalesOrder",
                ORDER,
                page=1000,
                items=("to_Item", "A_SalesOrderItem", "SalesOrder"),
            ),
            EntitySet("A_SalesOrderItem", ITEM, page=1000),
        ),
    ),
    Service(
        "API_PRODUCT_SRV",
        f"{V2_ROOT}/API_PRODUCT_SRV",
        2,
        "API_PRODUCT_SRV",
        "Remote API for Product Master",
        (EntitySet("A_Product", PRODUCT, page=1000, tracks=True),),
    ),
    Service(
        "API_SALESORDER",
        f"{V4_ROOT}/api_salesorder/srvd_a2x/sap/salesorder/0001",
        4,
        "com.sap.gateway.srvd_a2x.api_sales_order.v0001",
        "Sales Order (A2X)",
        (
            EntitySet(
                "SalesOrder",
                ORDER,
                page=1000,
                tracks=True,
                items=("_Item", "SalesOrderItem", "SalesOrder"),
            ),
            EntitySet("SalesOrderItem", ITEM, page=1000),
        ),
    ),
)

TYPES = (PARTNER, ADDRESS, ORDER, ITEM, PRODUCT)
