"""$metadata: a service's EDMX as V2 (with sap: annotations) or V4, and the service documents."""

from typing import Any
from xml.sax.saxutils import quoteattr

from hubblewave_pipelines.sandboxes.sap.model import EntitySet, EntityType, Property, Service

_V4_TYPES = {"DateTime": "Date", "Time": "TimeOfDay"}


def edmx(service: Service) -> bytes:
    return (_edmx_v2(service) if service.version == 2 else _edmx_v4(service)).encode()


def service_document(service: Service) -> dict[str, Any]:
    if service.version == 2:
        return {"d": {"EntitySets": [found.name for found in service.sets]}}
    return {
        "@odata.context": "$metadata",
        "value": [
            {"name": found.name, "kind": "EntitySet", "url": found.name} for found in service.sets
        ],
    }


def _attributes(**given: str | int | bool | None) -> str:
    shown = {
        name.replace("__", ":").replace("_", "-") if name.startswith("sap") else name: (
            str(value).lower() if isinstance(value, bool) else str(value)
        )
        for name, value in given.items()
        if value is not None
    }
    return "".join(f" {name}={quoteattr(value)}" for name, value in shown.items())


def _type_v4(prop: Property) -> str:
    return "Edm." + _V4_TYPES.get(prop.edm, prop.edm)


def _property(prop: Property, version: int) -> str:
    shape = {
        "Name": prop.name,
        "Type": f"Edm.{prop.edm}" if version == 2 else _type_v4(prop),
        "Nullable": None if prop.nullable else False,
        "MaxLength": prop.length,
        "Precision": None if version == 4 and prop.edm == "DateTime" else prop.precision,
        "Scale": prop.scale,
    }
    if version == 4:
        return f"<Property{_attributes(**shape)}/>"
    notes = {
        "sap__label": prop.label,
        "sap__display_format": prop.shown or None,
        "sap__creatable": None if prop.creatable else False,
        "sap__updatable": None if prop.updatable else False,
        "sap__sortable": None if prop.sortable else False,
        "sap__filterable": None if prop.filterable else False,
    }
    return f"<Property{_attributes(**shape, **notes)}/>"


def _types(service: Service) -> dict[str, EntityType]:
    return {found.type.name: found.type for found in service.sets}


def _keys(shape: EntityType) -> str:
    return "<Key>" + "".join(f'<PropertyRef Name="{name}"/>' for name in shape.keys) + "</Key>"


def _edmx_v2(service: Service) -> str:
    parts = []
    with_items = [found for found in service.sets if found.items is not None]
    for shape in _types(service).values():
        navigation = "".join(
            f'<NavigationProperty Name="{found.items[0]}" '
            f'Relationship="{service.namespace}.assoc_{found.items[0]}" '
            f'FromRole="From_{found.items[0]}" ToRole="To_{found.items[0]}"/>'
            for found in with_items
            if found.type is shape and found.items is not None
        )
        properties = "".join(_property(prop, 2) for prop in shape.properties)
        parts.append(
            f"<EntityType{_attributes(Name=shape.name, sap__label=shape.label, sap__content_version=1)}>"
            f"{_keys(shape)}{properties}{navigation}</EntityType>"
        )
    parts.extend(_association(service, found) for found in with_items)
    parts.append(
        f'<EntityContainer Name="{service.namespace}_Entities" m:IsDefaultEntityContainer="true">'
    )
    parts.extend(_set_v2(service, found) for found in service.sets)
    for found in with_items:
        name, target, _ = found.items  # type: ignore[misc]
        parts.append(
            f'<AssociationSet Name="assoc_{name}_set" Association="{service.namespace}.assoc_{name}">'
            f'<End EntitySet="{found.name}" Role="From_{name}"/>'
            f'<End EntitySet="{target}" Role="To_{name}"/></AssociationSet>'
        )
    parts.append("</EntityContainer>")
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx" '
        'xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" '
        'xmlns:sap="http://www.sap.com/Protocols/SAPData">'
        '<edmx:DataServices m:DataServiceVersion="2.0">'
        f'<Schema Namespace="{service.namespace}" xmlns="http://schemas.microsoft.com/ado/2008/09/edm" '
        f'sap:schema-version="1">{"".join(parts)}</Schema></edmx:DataServices></edmx:Edmx>'
    )


def _association(service: Service, found: EntitySet) -> str:
    name, target, _ = found.items  # type: ignore[misc]
    other = service.find(target)
    if other is None:
        raise LookupError(f"{service.name} has no set {target}")
    return (
        f'<Association Name="assoc_{name}" sap:content-version="1">'
        f'<End Type="{service.namespace}.{found.type.name}" Multiplicity="1" Role="From_{name}"/>'
        f'<End Type="{service.namespace}.{other.type.name}" Multiplicity="*" Role="To_{name}"/>'
        "</Association>"
    )


def _set_v2(service: Service, found: EntitySet) -> str:
    flags = _attributes(
        Name=found.name,
        EntityType=f"{service.namespace}.{found.type.name}",
        sap__creatable=None if found.writable else False,
        sap__updatable=None if found.writable else False,
        sap__deletable=None if found.writable else False,
        sap__label=found.type.label,
        sap__change_tracking=True if found.tracks else None,
        sap__content_version=1,
    )
    return f"<EntitySet{flags}/>"


def _edmx_v4(service: Service) -> str:
    parts: list[str] = []
    notes: list[str] = []
    for shape in _types(service).values():
        found = next(one for one in service.sets if one.type is shape)
        navigation = ""
        if found.items is not None and (other := service.find(found.items[1])) is not None:
            navigation = (
                f'<NavigationProperty Name="{found.items[0]}" '
                f'Type="Collection({service.namespace}.{other.type.name})"/>'
            )
        properties = "".join(_property(prop, 4) for prop in shape.properties)
        parts.append(
            f'<EntityType Name="{shape.name}">{_keys(shape)}{properties}{navigation}</EntityType>'
        )
        notes.extend(
            f'<Annotations Target="{service.namespace}.{shape.name}/{prop.name}">'
            f'<Annotation Term="Common.Label"{_attributes(String=prop.label)}/></Annotations>'
            for prop in shape.properties
        )
    parts.append('<EntityContainer Name="Container">')
    for found in service.sets:
        binding = (
            f'<NavigationPropertyBinding Path="{found.items[0]}" Target="{found.items[1]}"/>'
            if found.items is not None
            else ""
        )
        parts.append(
            f'<EntitySet Name="{found.name}" EntityType="{service.namespace}.{found.type.name}">{binding}</EntitySet>'
        )
        notes.append(_restrictions(service, found))
    parts.append("</EntityContainer>")
    return (
        '<?xml version="1.0" encoding="utf-8"?>'
        '<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx">'
        '<edmx:Reference Uri="https://sap.github.io/odata-vocabularies/vocabularies/Common.xml">'
        '<edmx:Include Namespace="com.sap.vocabularies.Common.v1" Alias="Common"/></edmx:Reference>'
        '<edmx:Reference Uri="https://oasis-tcs.github.io/odata-vocabularies/vocabularies/Org.OData.Capabilities.V1.xml">'
        '<edmx:Include Namespace="Org.OData.Capabilities.V1" Alias="Capabilities"/></edmx:Reference>'
        f'<edmx:DataServices><Schema Namespace="{service.namespace}" '
        f'xmlns="http://docs.oasis-open.org/odata/ns/edm">{"".join(parts)}{"".join(notes)}'
        "</Schema></edmx:DataServices></edmx:Edmx>"
    )


def _restrictions(service: Service, found: EntitySet) -> str:
    hidden = [prop.name for prop in found.type.properties if not prop.filterable]
    paths = "".join(f"<PropertyPath>{name}</PropertyPath>" for name in hidden)
    tracking = (
        '<Annotation Term="Capabilities.ChangeTracking"><Record>'
        f'<PropertyValue Property="Supported" Bool="{str(found.tracks).lower()}"/></Record></Annotation>'
    )
    return (
        f'<Annotations Target="{service.namespace}.Container/{found.name}">{tracking}'
        '<Annotation Term="Capabilities.FilterRestrictions"><Record>'
        f'<PropertyValue Property="NonFilterableProperties"><Collection>{paths}</Collection>'
        "</PropertyValue></Record></Annotation></Annotations>"
    )
