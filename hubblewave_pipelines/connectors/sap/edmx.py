"""$metadata of an OData service, V2 or V4, as entity sets with typed properties. Read without DTDs or entities."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from lxml import etree

from hubblewave_pipelines.core.errors import PartialAnswer, VendorRefused

_SAP = "{http://www.sap.com/Protocols/SAPData}"


@dataclass(frozen=True, slots=True)
class Property:
    """`edm` is the type's name without `Edm.`; another type's full name; or `Collection(...)`."""

    name: str
    edm: str
    label: str = ""
    nullable: bool = True
    max_length: int | None = None
    scale: int | None = None
    filterable: bool = True
    sortable: bool = True
    creatable: bool = True
    updatable: bool = True
    shown: str = ""  # sap:display-format
    semantics: str = ""  # sap:semantics


@dataclass(frozen=True, slots=True)
class EntitySet:
    name: str
    label: str
    keys: tuple[str, ...]
    properties: Mapping[str, Property]
    tracks: bool = False  # offers delta links
    creatable: bool = True
    updatable: bool = True
    deletable: bool = True
    countable: bool = True
    tagged: bool = True  # rows carry ETags, as far as the metadata tell

    @property
    def keyed(self) -> bool:
        """Whether the set can be read in the order of its key, from any key on."""
        return bool(self.keys) and all(
            self.properties[name].filterable and self.properties[name].sortable
            for name in self.keys
        )


@dataclass(frozen=True, slots=True)
class Metadata:
    version: int  # 2 or 4
    namespace: str
    sets: Mapping[str, EntitySet]


def parse(text: bytes) -> Metadata:
    """Raises PartialAnswer when the XML is not all there, VendorRefused when it is something else."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    try:
        root = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise PartialAnswer("The service's $metadata is not whole XML.") from error
    if root.getroottree().docinfo.doctype:
        raise VendorRefused(
            "The service's $metadata has a document type (DOCTYPE); it is not read."
        )
    if etree.QName(root).localname != "Edmx":
        raise VendorRefused("What the service gives as $metadata is no EDMX document.")
    version = 4 if str(root.get("Version", "")).startswith("4") else 2
    schemas = [node for node in root.iter(etree.Element) if etree.QName(node).localname == "Schema"]
    types = {
        f"{schema.get('Namespace')}.{node.get('Name')}": node
        for schema in schemas
        for node in _children(schema, "EntityType")
    }
    notes = _annotations(schemas)
    sets: dict[str, EntitySet] = {}
    for schema in schemas:
        for container in _children(schema, "EntityContainer"):
            path = f"{schema.get('Namespace')}.{container.get('Name')}"
            for node in _children(container, "EntitySet"):
                shape = types.get(str(node.get("EntityType")))
                if shape is not None:
                    found = _entity_set(node, shape, types, version, notes, path)
                    sets[found.name] = found
    namespace = str(schemas[0].get("Namespace")) if schemas else ""
    return Metadata(version, namespace, sets)


def _children(node: Any, name: str) -> list[Any]:
    return [
        child
        for child in node
        if isinstance(child.tag, str) and etree.QName(child).localname == name
    ]


def _flag(node: Any, name: str, usual: bool = True) -> bool:
    value = node.get(f"{_SAP}{name}")
    return usual if value is None else value == "true"


def _number(node: Any, name: str) -> int | None:
    value = node.get(name, "")
    return int(value) if value.isdigit() else None


def _annotations(schemas: list[Any]) -> dict[tuple[str, str], Any]:
    """V4 annotations by target and term (without its namespace or alias)."""
    found: dict[tuple[str, str], Any] = {}
    for schema in schemas:
        for group in _children(schema, "Annotations"):
            for note in _children(group, "Annotation"):
                term = str(note.get("Term", "")).rsplit(".", 1)[-1]
                found[str(group.get("Target")), term] = note
    return found


def _paths(note: Any, name: str) -> set[str]:
    """The property paths in one member of an annotation's record."""
    if note is None:
        return set()
    return {
        str(path.text)
        for value in note.iter(etree.Element)
        if etree.QName(value).localname == "PropertyValue" and value.get("Property") == name
        for path in value.iter(etree.Element)
        if etree.QName(path).localname == "PropertyPath"
    }


def _says(note: Any, name: str, usual: bool) -> bool:
    if note is not None:
        for value in note.iter(etree.Element):
            if etree.QName(value).localname == "PropertyValue" and value.get("Property") == name:
                return str(value.get("Bool", str(usual).lower())) == "true"
    return usual


def _entity_set(
    node: Any,
    shape: Any,
    types: Mapping[str, Any],
    version: int,
    notes: Mapping[tuple[str, str], Any],
    container: str,
) -> EntitySet:
    name, target = str(node.get("Name")), f"{container}/{node.get('Name')}"
    hidden = _paths(notes.get((target, "FilterRestrictions")), "NonFilterableProperties")
    unsorted = _paths(notes.get((target, "SortRestrictions")), "NonSortableProperties")
    type_name = str(node.get("EntityType"))
    chain = [shape]
    while (above := types.get(str(chain[0].get("BaseType")))) is not None and above not in chain:
        chain.insert(0, above)
    properties: dict[str, Property] = {}
    keys: tuple[str, ...] = ()
    for part in chain:
        for key in _children(part, "Key"):
            keys = tuple(str(ref.get("Name")) for ref in _children(key, "PropertyRef"))
        for child in _children(part, "Property"):
            found = _property(child, version, notes, f"{type_name}/{child.get('Name')}")
            if found.name in hidden or found.name in unsorted:
                found = _restricted(found, found.name in hidden, found.name in unsorted)
            properties[found.name] = found
    tracking = _says(notes.get((target, "ChangeTracking")), "Supported", False)
    return EntitySet(
        name=name,
        label=node.get(f"{_SAP}label") or shape.get(f"{_SAP}label") or "",
        keys=keys,
        properties=properties,
        tracks=tracking or _flag(node, "change-tracking", False),
        creatable=_flag(node, "creatable")
        and _says(notes.get((target, "InsertRestrictions")), "Insertable", True),
        updatable=_flag(node, "updatable")
        and _says(notes.get((target, "UpdateRestrictions")), "Updatable", True),
        deletable=_flag(node, "deletable")
        and _says(notes.get((target, "DeleteRestrictions")), "Deletable", True),
        countable=_flag(node, "countable")
        and _says(notes.get((target, "CountRestrictions")), "Countable", True),
    )


def _restricted(prop: Property, hidden: bool, unsorted: bool) -> Property:
    return replace(
        prop, filterable=prop.filterable and not hidden, sortable=prop.sortable and not unsorted
    )


def _property(
    node: Any, version: int, notes: Mapping[tuple[str, str], Any], target: str
) -> Property:
    label = notes.get((target, "Label"))
    return Property(
        name=str(node.get("Name")),
        edm=str(node.get("Type", "Edm.String")).removeprefix("Edm."),
        label=node.get(f"{_SAP}label") or (label.get("String", "") if label is not None else ""),
        nullable=node.get("Nullable", "true") != "false",
        max_length=_number(node, "MaxLength"),
        scale=_number(node, "Scale"),
        filterable=_flag(node, "filterable"),
        sortable=_flag(node, "sortable"),
        creatable=_flag(node, "creatable"),
        updatable=_flag(node, "updatable"),
        shown=node.get(f"{_SAP}display-format") or "",
        semantics=node.get(f"{_SAP}semantics") or "",
    )
