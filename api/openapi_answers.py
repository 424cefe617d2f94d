"""The schemas of answers about records that are no records: outcomes, versions, changes, groups."""

from api.openapi_schemas import Schema, ref

SCHEMAS: dict[str, Schema] = {
    "platform_BulkOutcome": {
        "type": "object",
        "properties": {
            "summary": {
                "type": "object",
                "properties": {
                    "total": {"type": "integer"},
                    "succeeded": {"type": "integer"},
                    "failed": {"type": "integer"},
                },
                "required": ["total", "succeeded", "failed"],
            },
            "items": {
                "type": "array",
                "description": "The outcome of each item, in the order of the request.",
                "items": {
                    "type": "object",
                    "properties": {
                        "index": {"type": "integer"},
                        "status": {"type": "integer"},
                        "id": {"type": "string", "format": "uuid"},
                        "version": {"type": "integer", "format": "int64"},
                        "record": {"type": "object"},
                        "error": ref("platform_Problem"),
                    },
                    "required": ["index", "status"],
                },
            },
        },
        "required": ["summary", "items"],
    },
    "platform_Groups": {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "pageInfo": ref("platform_ShortPageInfo"),
        },
        "required": ["items", "pageInfo"],
    },
    "platform_History": {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "pageInfo": ref("platform_ShortPageInfo"),
        },
        "required": ["items", "pageInfo"],
    },
    "platform_Changes": {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": {"type": "object"}},
            "next": {"type": "string"},
            "more": {"type": "boolean"},
        },
        "required": ["items", "next", "more"],
    },
}
