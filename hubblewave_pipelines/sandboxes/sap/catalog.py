"""The catalog services of the SAP sandbox: which OData services the system has activated."""

from typing import Any

from hubblewave_pipelines.sandboxes.sap.model import SERVICES

V2_PATH = "/sap/opu/odata/IWFND/CATALOGSERVICE;v=2/ServiceCollection"
V4_PATH = "/sap/opu/odata4/iwfnd/config/default/iwfnd/catalog/0002/ServiceGroups"


def v2(base: str) -> dict[str, Any]:
    """`ServiceCollection`, one entry per activated V2 service."""
    return {
        "d": {
            "results": [
                {
                    "ID": f"{service.name}_0001",
                    "Title": service.name,
                    "Description": service.title,
                    "TechnicalServiceName": service.name,
                    "TechnicalServiceVersion": 1,
                    "MetadataUrl": f"{base}{service.path}/$metadata",
                    "ServiceUrl": f"{base}{service.path}",
                }
                for service in SERVICES
                if service.version == 2
            ]
        }
    }


def v4() -> dict[str, Any]:
    """`ServiceGroups?$expand=DefaultSystem($expand=Services)`."""
    return {
        "@odata.context": "$metadata#ServiceGroups(DefaultSystem(Services()))",
        "value": [
            {
                "GroupId": service.name,
                "DefaultSystem": {
                    "SystemAlias": "LOCAL",
                    "Services": [
                        {
                            "ServiceId": service.name,
                            "ServiceVersion": "0001",
                            "Description": service.title,
                            "ServiceUrl": f"{service.path}/",
                        }
                    ],
                },
            }
            for service in SERVICES
            if service.version == 4
        ],
    }
