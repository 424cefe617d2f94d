"""The sObjects of the Salesforce sandbox: their fields as `describe` tells them, and their ids."""

from dataclasses import dataclass, field
from typing import Any

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
NUMBERS = frozenset({"double", "currency", "percent"})
VERSIONS = ("58.0", "59.0", "60.0", "61.0", "62.0", "63.0", "64.0")
COMPOUND = frozenset({"address", "location"})


def id_of(prefix: str, number: int) -> str:
    """The 18-character id of the n-th record; later numbers sort after earlier ones."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = DIGITS[rest] + digits
    return with_check(f"{prefix}5gK{digits:0>9}")


def with_check(short: str) -> str:
    """A 15-character id with the three letters that make its case recoverable."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << n for n, letter in enumerate(short[start : start + 5]) if letter.isupper())
        suffix += _CHECK[bits]
    return short + suffix


def full_id(given: str) -> str:
    """The 18-character form of a 15- or 18-character id. Raises ValueError when it is neither."""
    if len(given) not in (15, 18) or not given.isalnum() or not given.isascii():
        raise ValueError(given)
    full = with_check(given[:15])
    if len(given) == 18 and given != full:
        raise ValueError(given)
    return full


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    type: str
    label: str = ""
    length: int = 0
    precision: int = 0
    scale: int = 0
    nillable: bool = True
    createable: bool = True
    updateable: bool = True
    calculated: bool = False
    external_id: bool = False
    unique: bool = False
    picklist: tuple[str, ...] = ()
    refers: tuple[str, ...] = ()

    @property
    def filterable(self) -> bool:
        return self.type not in ("base64", *COMPOUND) and not (
            self.type == "textarea" and self.length > 255
        )

    def described(self) -> dict[str, object]:
        return {
            "name": self.name,
            "label": self.label or self.name,
            "type": self.type,
            "length": self.length,
            "byteLength": self.length * 3,
            "precision": self.precision,
            "scale": self.scale,
            "digits": 8 if self.type == "int" else 0,
            "nillable": self.nillable,
            "createable": self.createable,
            "updateable": self.updateable,
            "calculated": self.calculated,
            "calculatedFormula": "IF(AnnualRevenue > 1000000, 'A', 'B')"
            if self.calculated
            else None,
            "externalId": self.external_id,
            "idLookup": self.type == "id" or self.external_id,
            "unique": self.unique,
            "custom": self.name.endswith("__c"),
            "filterable": self.filterable,
            "sortable": self.filterable,
            "picklistValues": [
                {"value": value, "label": value, "active": True, "defaultValue": False}
                for value in self.picklist
            ],
            "referenceTo": list(self.refers),
            "relationshipName": self.name.removesuffix("Id") if self.refers else None,
            "soapType": "xsd:string",
        }


@dataclass(frozen=True, slots=True)
class SObject:
    name: str
    prefix: str
    fields: dict[str, Field] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    replicateable: bool = True
    soft_delete: bool = True

    def field_named(self, name: str) -> Field | None:
        """A field by its name in any case."""
        found = self.fields.get(name)
        if found is not None:
            return found
        lowered = name.lower()
        return next((f for f in self.fields.values() if f.name.lower() == lowered), None)


def _text(name: str, length: int = 255, **more: Any) -> Field:
    return Field(name, "string", length=length, **more)


def _sobject(
    name: str, prefix: str, *own: Field, required: tuple[str, ...] = (), **more: bool
) -> SObject:
    """With the fields that every object has around its own."""
    kept: dict[str, Any] = {"nillable": False, "createable": False, "updateable": False}
    fields = [
        Field("Id", "id", "Record ID", length=18, **kept),
        *(
            [Field("IsDeleted", "boolean", "Deleted", **kept)]
            if more.get("soft_delete", True)
            else []
        ),
        *own,
        Field("CreatedDate", "datetime", "Created Date", **kept),
        Field("CreatedById", "reference", "Created By ID", length=18, refers=("User",), **kept),
        Field("LastModifiedDate", "datetime", "Last Modified Date", **kept),
        Field("LastModifiedById", "reference", length=18, refers=("User",), **kept),
        Field("SystemModstamp", "datetime", "System Modstamp", **kept),
    ]
    return SObject(name, prefix, {f.name: f for f in fields}, required, **more)


_OWNER = Field("OwnerId", "reference", "Owner ID", length=18, nillable=False, refers=("User",))
_EXTERNAL = _text("ExternalKey__c", 64, external_id=True, unique=True)
_NOTE = Field("Description", "textarea", "Description", length=32_000)
_READ_ONLY: dict[str, Any] = {"createable": False, "updateable": False}

ACCOUNT = _sobject(
    "Account",
    "001",
    _text("Name", nillable=False),
    Field("Type", "picklist", length=255, picklist=("Prospect", "Customer", "Partner", "Other")),
    Field("Industry", "picklist", length=255, picklist=("Banking", "Energy", "Retail")),
    Field("BillingStreet", "textarea", length=255),
    _text("BillingCity", 40),
    _text("BillingCountry", 80),
    Field("BillingAddress", "address", **_READ_ONLY),
    Field("Phone", "phone", length=40),
    Field("Website", "url", length=255),
    Field("AnnualRevenue", "currency", precision=18, scale=2),
    Field("NumberOfEmployees", "int"),
    _NOTE,
    _OWNER,
    Field("Segments__c", "multipicklist", length=4099, picklist=("North", "South", "Key;ed")),
    Field("Score__c", "double", precision=9, scale=3),
    Field("Active__c", "boolean", nillable=False),
    Field("Founded__c", "date"),
    Field("LastAudit__c", "datetime"),
    Field("RevenueBand__c", "string", length=1_300, calculated=True, **_READ_ONLY),
    _EXTERNAL,
    required=("Name",),
)
CONTACT = _sobject(
    "Contact",
    "003",
    Field("AccountId", "reference", "Account ID", length=18, refers=("Account",)),
    _text("FirstName", 40),
    _text("LastName", 80, nillable=False),
    _text("Name", 121, nillable=False, **_READ_ONLY),
    Field("Email", "email", length=80),
    Field("Phone", "phone", length=40),
    _text("Title", 128),
    Field("Birthdate", "date"),
    Field("HasOptedOutOfEmail", "boolean", nillable=False),
    _text("MailingCity", 40),
    _NOTE,
    _OWNER,
    _EXTERNAL,
    required=("LastName",),
)
OPPORTUNITY = _sobject(
    "Opportunity",
    "006",
    _text("Name", 120, nillable=False),
    Field("AccountId", "reference", "Account ID", length=18, refers=("Account",)),
    Field("Amount", "currency", precision=18, scale=2),
    Field("CloseDate", "date", nillable=False),
    Field(
        "StageName",
        "picklist",
        length=255,
        nillable=False,
        picklist=("Prospecting", "Negotiation", "Closed Won", "Closed Lost"),
    ),
    Field("Probability", "percent", precision=3),
    _OWNER,
    _EXTERNAL,
    required=("Name", "CloseDate", "StageName"),
)
USER = _sobject(
    "User",
    "005",
    _text("Username", 80, nillable=False),
    _text("Name", 121, nillable=False, **_READ_ONLY),
    Field("Email", "email", length=128, nillable=False),
    Field("IsActive", "boolean", nillable=False),
    _text("TimeZoneSidKey", 40, nillable=False),
    soft_delete=False,
)
ATTACHMENT = _sobject(
    "Attachment",
    "00P",
    _text("Name", nillable=False),
    Field("ParentId", "reference", length=18, nillable=False, refers=("Account", "Contact")),
    Field("Body", "base64", nillable=False),
    required=("Name", "Body"),
)
RATE = _sobject(
    "DailyRate__c",
    "a00",
    _text("Name", 80),
    Field("Rate__c", "double", precision=12, scale=6),
    soft_delete=False,
    replicateable=False,
)
SOBJECTS = (ACCOUNT, CONTACT, OPPORTUNITY, USER, ATTACHMENT, RATE)
