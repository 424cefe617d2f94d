"""Seeded business data for the SAP sandbox: partners, addresses, orders, items and products."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from hubblewave_pipelines.sandboxes.sap.keys import KEY, key_text
from hubblewave_pipelines.sandboxes.sap.model import (
    ADDRESS,
    ITEM,
    ORDER,
    PARTNER,
    PRODUCT,
    EntityType,
)

Row = dict[str, Any]

_FIRST = ("Anna", "Jörg", "Zoë", "Müge", "Łukasz", "D'Arcy", "Ingrid", "名前", "José", "Siân")
_LAST = (
    "Müller",
    "O'Brien",
    "Nguyễn",
    "de la Cruz",
    "Þórsson",
    "Smith & Sons",
    "Šimek",
    "Ωmega",
    "李",
)
_FIRMS = (
    "Domestic Customer",
    "Käserei",
    "Łódź Stal",
    "A+B 100%",
    "“Quoted” Ltd.",
    "東京商事",
    "Ünïcode AG",
)
_CITIES = ("Walldorf", "São Paulo", "Zürich", "Kraków", "京都市", "St. John's", "Düsseldorf")
_COUNTRIES = ("DE", "BR", "CH", "PL", "JP", "CA", "US")
_UNITS = ("PC", "KG", "L", "ST")


def tables(seed: int, records: int, now: datetime) -> dict[str, tuple[EntityType, list[Row]]]:
    """`records` sales orders, and of the rest what goes with them. Stamps lie in the year before `now`."""
    dice = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
    return {
        "partners": (PARTNER, list(_partners(dice, max(1, records // 2), now))),
        "addresses": (ADDRESS, list(_addresses(dice, max(1, records // 2)))),
        "orders": (ORDER, list(_orders(dice, records, now))),
        "items": (ITEM, list(_items(dice, records))),
        "products": (PRODUCT, list(_products(dice, max(1, records // 2), now))),
    }


def _named(row: Row, shape: EntityType) -> Row:
    row[KEY] = key_text(row, shape)
    return row


def _past(dice: random.Random, now: datetime) -> datetime:
    whole = now - timedelta(days=365) + timedelta(seconds=dice.randrange(365 * 86_400 - 600))
    # most stamps carry a fraction, some fall on the full second, and several records share one
    return whole.replace(microsecond=dice.choice((0, 0, 123_456, 500_000, 999_999)))


def _day(dice: random.Random, now: datetime) -> date | None:
    """Some far, some missing: DATS 00000000 comes over as null."""
    kind = dice.random()
    if kind < 0.1:
        return None
    if kind < 0.15:
        return date(9999, 12, 31)
    return now.date() + timedelta(days=dice.randrange(-200, 200))


def partner(dice: random.Random, number: int, changed: datetime) -> Row:
    person = dice.random() < 0.5
    first, last = dice.choice(_FIRST), dice.choice(_LAST)
    firm = f"{dice.choice(_FIRMS)} {number}"
    # external numbers are letters and digits and sort behind the internal ones
    name = f"{number}" if number % 10 else f"Z{number:06}"
    row = {
        "BusinessPartner": name,
        "BusinessPartnerCategory": "1" if person else "2",
        "BusinessPartnerFullName": f"{first} {last}" if person else firm,
        "FirstName": first if person else "",
        "LastName": last if person else "",
        "OrganizationBPName1": "" if person else firm[:40],
        "SearchTerm1": (last if person else firm).upper()[:20],
        "Industry": f"{dice.randrange(0, 120):04}",
        "CorrespondenceLanguage": dice.choice(("EN", "DE", "ZH", "")),
        "BusinessPartnerUUID": UUID(int=dice.getrandbits(128), version=4),
        "BusinessPartnerIsBlocked": dice.random() < 0.05,
        "BirthDate": date(dice.randrange(1900, 2005), dice.randrange(1, 13), 28)
        if person
        else None,
        "CreationDate": changed.date(),
        "CreationTime": time(dice.randrange(24), dice.randrange(60), dice.randrange(60)),
    }
    never = dice.random() < 0.3  # the change date is empty until somebody changes the partner
    row["LastChangeDate"] = None if never else changed.date()
    row["LastChangeTime"] = None if never else changed.time().replace(microsecond=0)
    if not never:
        row["CreationDate"] = (changed - timedelta(days=dice.randrange(0, 900))).date()
    return _named(row, PARTNER)


def order(dice: random.Random, number: int, changed: datetime) -> Row:
    row = {
        "SalesOrder": f"{number}",
        "SalesOrderType": dice.choice(("OR", "ZOR", "RE")),
        "SoldToParty": f"{dice.randrange(1_000, 2_000)}",
        "PurchaseOrderByCustomer": dice.choice(
            ("", "PO 4711", "Rückfrage", "a+b=c & d", "50% / ünter'm")
        ),
        "TotalNetAmount": Decimal(dice.randrange(-1_000_000, 10**13)) / 1000,
        "TransactionCurrency": dice.choice(("EUR", "USD", "JPY", "KWD")),
        "OverallSDProcessStatus": dice.choice(("A", "B", "C", "")),
        "RequestedDeliveryDate": _day(dice, changed),
        "CreationDate": changed.date(),
        "LastChangeDateTime": changed,
    }
    return _named(row, ORDER)


def product(dice: random.Random, number: int, changed: datetime) -> Row:
    row = {
        "Product": dice.choice(("FG-{0:06}", "MZ {0:06}", "R/{0:06}", "{0:018}")).format(number),
        "ProductType": dice.choice(("FERT", "ROH", "HAWA")),
        "ProductDescription": dice.choice(("Bike", "Schraube M4x20", "Öl 5W-30", "", "螺丝")),
        "GrossWeight": Decimal(dice.randrange(0, 10**9)) / 1000,
        "WeightUnit": dice.choice(_UNITS),
        "IsMarkedForDeletion": dice.random() < 0.03,
        "NumberOfPieces": dice.choice((None, 0, 1, 12, 2_147_483_647)),
        "StockInBaseUnit": dice.choice((0, 17, -3, 9_007_199_254_740_993)),
        "Fineness": dice.choice((None, 0.1, 999.9, 1e-7)),
        "CrossPlantStatusValidityDate": _day(dice, changed),
        "LastChangeDateTime": changed,
    }
    return _named(row, PRODUCT)


def address(dice: random.Random, number: int, partner_number: str) -> Row:
    row = {
        "BusinessPartner": partner_number,
        "AddressID": f"{number}",
        "StreetName": dice.choice(("Hauptstraße", "5th Ave", "", "Rua São João")),
        "HouseNumber": f"{dice.randrange(1, 200)}{dice.choice(('', 'a', ' 1/2'))}",
        "PostalCode": f"{dice.randrange(0, 99_999):05}",
        "CityName": dice.choice(_CITIES),
        "Country": dice.choice(_COUNTRIES),
        "ValidityStartDate": dice.choice((None, datetime(2020, 1, 1, tzinfo=UTC))),
    }
    return _named(row, ADDRESS)


def item(dice: random.Random, sales_order: str, position: int) -> Row:
    row = {
        "SalesOrder": sales_order,
        "SalesOrderItem": f"{position}",
        "Material": f"FG-{dice.randrange(1, 500):06}",
        "SalesOrderItemText": dice.choice(("Bike", "Ersatzteil für O'Brien", "", "螺丝")),
        "RequestedQuantity": Decimal(dice.randrange(1, 10**6)) / 1000,
        "RequestedQuantityUnit": dice.choice(_UNITS),
        "NetAmount": Decimal(dice.randrange(-(10**6), 10**10)) / 1000,
    }
    return _named(row, ITEM)


def _partners(dice: random.Random, count: int, now: datetime) -> Iterator[Row]:
    return (partner(dice, 1_000 + n, _past(dice, now)) for n in range(count))


def _addresses(dice: random.Random, count: int) -> Iterator[Row]:
    return (address(dice, 20_000 + n, f"{1_000 + n // 2}") for n in range(count))


def _orders(dice: random.Random, count: int, now: datetime) -> Iterator[Row]:
    return (order(dice, 9_500 + n, _past(dice, now)) for n in range(count))


def _items(dice: random.Random, orders: int) -> Iterator[Row]:
    for n in range(orders):
        for position in range(1 + n % 3):
            yield item(dice, f"{9_500 + n}", 10 * (position + 1))


def _products(dice: random.Random, count: int, now: datetime) -> Iterator[Row]:
    return (product(dice, 1 + n, _past(dice, now)) for n in range(count))
