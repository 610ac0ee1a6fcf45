"""The reader of openapi.yaml resolves every local reference, and says so where one leads nowhere."""

import pytest

from harness.http.openapi import Document, Json

REFERRED: Json = {
    "paths": {
        "/v1/things/{thing_id}": {"$ref": "#/components/pathItems/Thing"},
        "/v1/things/special": {"get": {"responses": {"200": {"$ref": "#/components/responses/Good"}}}},
    },
    "components": {
        "pathItems": {
            "Thing": {
                "parameters": [{"$ref": "#/components/parameters/ThingId"}],
                "get": {
                    "operationId": "getThing",
                    "responses": {
                        "200": {"$ref": "#/components/responses/Good", "description": "one thing"},
                        "404": {"$ref": "#/components/responses/Missing"},
                    },
                },
            }
        },
        "parameters": {"ThingId": {"name": "thing_id", "in": "path"}},
        "responses": {
            "Good": {"description": "good", "content": {"text/plain": {"examples": {"a": {"value": "hello"}}}}},
            "Missing": {"$ref": "#/components/responses/Gone~1now"},
            "Gone/now": {"description": "gone", "x-no-case": "nothing goes"},
        },
    },
}
DOCUMENT = Document(REFERRED)


def test_references_of_paths_parameters_and_responses_are_followed() -> None:
    thing = DOCUMENT.operation("getThing")
    assert [parameter["name"] for parameter in thing.parameters] == ["thing_id"]
    found = DOCUMENT.responses(thing)
    assert (found["200"]["description"], found["404"]["x-no-case"]) == ("one thing", "nothing goes")
    assert DOCUMENT.example("getThing", "200") == ("text/plain", "hello")


def test_an_object_is_found_where_it_stands_in_the_end() -> None:
    pointer = DOCUMENT.operation("getThing").pointer
    assert pointer == "/components/pathItems/Thing/get"
    where, response = DOCUMENT.follow(f"{pointer}/responses/404")
    assert (where, response["description"]) == ("/components/responses/Gone~1now", "gone")


@pytest.mark.parametrize("path,whole", [("/v1/things/7", True), ("/v1/things/", False), ("/v1/things/7/more", False)])
def test_a_path_matches_its_template_whole(path: str, whole: bool) -> None:
    assert bool(DOCUMENT.operation("getThing").pattern.fullmatch(path)) is whole


def test_a_parameter_may_hold_slashes() -> None:
    parameter = {"name": "where", "in": "path", "x-slashes": True}
    item = {"/{who}/at/{where}/go": {"post": {"parameters": [parameter], "responses": {}}}}
    [operation] = Document({"paths": item}).operations()
    found = [
        bool(operation.pattern.fullmatch(path)) for path in ("/a/at/b/c/go", "/a/at/b/go", "/a/b/at/c/go", "/a/at/go")
    ]
    assert found == [True, True, False, False]


def test_an_operation_without_an_id_is_called_by_method_and_path() -> None:
    assert [one.id for one in DOCUMENT.operations()] == ["getThing", "GET /v1/things/special"]


@pytest.mark.parametrize(
    "reference,said",
    [
        ("#/components/responses/Nobody", "nowhere"),
        ("other.yaml#/x", "out of the document"),
        ("#/components/circle", "refers to itself"),
    ],
)
def test_a_reference_that_cannot_be_followed_is_named(reference: str, said: str) -> None:
    document = Document({"components": {"responses": {}, "circle": {"$ref": "#/components/circle"}}})
    with pytest.raises(ValueError, match=said):
        document.resolve({"$ref": reference})
