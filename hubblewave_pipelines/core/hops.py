"""Following a relation from the records of one entity to those of another, resolved once."""

from dataclasses import dataclass

from hubblewave_pipelines.core.entity import Catalog, Entity, Relation, RelationKind


@dataclass(frozen=True, slots=True)
class Hop:
    """A relation with the entity it leads to, and where the link is stored.

    `column` is the source's reference column (manyToOne) or the target's (oneToMany); `link` is
    the id of the link table (manyToMany), and `forward` says which of its sides the source is.
    """

    relation: Relation
    target: Entity
    column: str = ""
    link: str = ""
    forward: bool = True

    @property
    def name(self) -> str:
        return self.relation.name

    @property
    def kind(self) -> RelationKind:
        return self.relation.kind

    @property
    def many(self) -> bool:
        return self.relation.kind is not RelationKind.MANY_TO_ONE

    @property
    def spelled(self) -> tuple[object, ...]:
        """The hop by what is stored, so that renaming a relation changes nothing."""
        return (self.kind.value, self.target.id, self.column, self.link, self.forward)


def hop_of(entity: Entity, name: str, catalog: Catalog) -> Hop | None:
    """The hop behind a relation's name; None when the entity has no such relation."""
    relation = entity.relations_by_name.get(name)
    target = None if relation is None else catalog.named(relation.target)
    if relation is None or target is None:
        return None
    if relation.kind is RelationKind.MANY_TO_ONE:
        return Hop(relation, target, column=relation.column)
    if relation.kind is RelationKind.ONE_TO_MANY:
        return Hop(relation, target, column=target.references[relation.field].column)
    return Hop(relation, target, link=relation.link or "", forward=relation.forward)
