"""structure: a model's own description as lines, and what changed in it."""

from __future__ import annotations

from typing import Any

from git_nn.differences.structure import compare, compare_file, describe, keys, layers


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": kind,
        "config": {"name": name, "trainable": True, **config},
        "registered_name": None,
    }


def policy(name: str) -> dict[str, Any]:
    return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": name}}


def model(*layers: dict[str, Any], name: str = "net", **rest: Any) -> dict[str, Any]:
    config = {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}
    return {"model_config": config, **rest}


DENSE = layer("Dense", "dense", units=64, activation="relu", dtype=policy("float32"))
HEAD = layer("Dense", "head", units=10, activation="softmax")


def test_equal_structures_have_no_lines() -> None:
    assert compare(model(DENSE, HEAD), model(DENSE, HEAD)) == ()


def test_a_changed_parameter_names_the_layer() -> None:
    wide = layer("Dense", "dense", units=128, activation="relu", dtype=policy("bfloat16"))
    assert compare(model(DENSE, HEAD), model(wide, HEAD)) == (
        'dense: dtype DTypePolicy(name="float32") → DTypePolicy(name="bfloat16")',
        "dense: units 64 → 128",
    )


def test_layers_added_removed_and_of_another_class() -> None:
    old = model(DENSE, layer("Dropout", "drop", rate=0.5), HEAD)
    new = model(layer("LSTM", "dense", units=64), layer("Dense", "extra", units=3), HEAD)
    assert compare(old, new) == (
        "layer drop (Dropout) removed",
        "layer extra (Dense) added",
        "dense: Dense → LSTM",
        "dense: activation relu removed",
        'dense: dtype DTypePolicy(name="float32") removed',
    )


def test_reordered_and_rewired_layers() -> None:
    assert compare(model(DENSE, HEAD), model(HEAD, DENSE)) == ("layers in another order",)
    rewired = {**HEAD, "inbound_nodes": [{"args": [["dense", 0, 0]]}]}
    assert compare(model(DENSE, HEAD), model(DENSE, rewired)) == ("head: connected in another way",)


def test_nested_models_are_compared_layer_by_layer() -> None:
    inner = {"class_name": "Functional", "config": {"name": "body", "layers": [DENSE]}}
    wide = layer("Dense", "dense", units=65, activation="relu", dtype=policy("float32"))
    other = {"class_name": "Functional", "config": {"name": "body", "layers": [wide]}}
    assert compare(model(inner), model(other)) == ("body/dense: units 64 → 65",)


def test_the_models_own_name_and_class() -> None:
    new = model(DENSE, name="other")
    new["model_config"]["class_name"] = "Functional"
    assert compare(model(DENSE), new) == (
        "model: class Sequential → Functional",
        "model: name net → other",
    )


def test_other_keys_are_compared_path_by_path() -> None:
    old = {"metadata": {"format": "pt", "gone": "1"}, "training_config": {"optimizer": {"lr": 0.1}}}
    new = {"metadata": {"format": "np", "come": "2"}, "training_config": {"optimizer": {"lr": 0.2}}}
    assert compare(old, new) == (
        "metadata.come: 2 added",
        "metadata.format: pt → np",
        "metadata.gone: 1 removed",
        "training_config.optimizer.lr: 0.1 → 0.2",
    )


def test_a_key_that_comes_or_goes() -> None:
    assert compare({}, {"metadata": {"format": "pt"}}) == ("metadata.format: pt added",)
    assert compare({"backend": "torch"}, {}) == ("backend: torch removed",)


def test_lines_are_bounded() -> None:
    old = {"metadata": {f"k{i:03}": "a" for i in range(100)}}
    new = {"metadata": {f"k{i:03}": "b" for i in range(100)}}
    lines = compare(old, new, limit=10)
    assert len(lines) == 11
    assert lines[-1] == "... and 90 more"


def test_long_values_are_cut_and_still_told_apart() -> None:
    old, new = {"m": "x" * 5000}, {"m": "x" * 5000 + "y"}
    assert compare(old, new) == ("m: changed (5000 → 5001 characters)",)
    assert all(len(line) < 100 for line in describe(old))


def test_nothing_invisible_is_printed() -> None:
    old = {"metadata": {"a\x1b[31m": "x"}}
    new = {"metadata": {"a\x1b[31m": "line\nfeed\u202e"}}
    (line,) = compare(old, new)
    assert line == "metadata.a?[31m: x → line?feed?"
    assert describe(new) == ["metadata.a?[31m: line?feed?"]


def nested(value: str) -> Any:
    deep: Any = value
    for _ in range(600):
        deep = {"config": [deep], "class_name": "Sequential"}
    return deep


def test_hostile_nesting_is_bounded() -> None:
    deep, other = nested("x"), nested("y")
    for value in (deep, {"a": deep}):
        assert len(compare({"model_config": value}, {"model_config": other})) <= 31
        assert len(describe({"model_config": value})) < 100
    odd: list[Any] = [1, None, [], "text", {"class_name": 3}, {"class_name": "A", "config": [7]}]
    for value in odd:
        assert isinstance(describe({"model_config": value}), list)
        assert compare({"model_config": value}, {"model_config": value}) == ()
        assert isinstance(compare({"model_config": value}, model(DENSE)), tuple)


def test_a_description_has_a_line_for_each_layer_with_its_main_parameters() -> None:
    dense = layer(
        "Dense", "dense", units=64, activation="relu", use_bias=True, kernel_regularizer=None,
        kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
        dtype=policy("float32"),
    )  # fmt: skip
    assert describe(model(dense, HEAD, backend="torch", keras_version="3.8.0")) == [
        "backend: torch",
        "keras_version: 3.8.0",
        "model_config: Sequential net",
        '  dense: Dense units=64 activation=relu use_bias=true dtype=DTypePolicy(name="float32")',
        "  head: Dense units=10 activation=softmax",
    ]


def test_a_description_does_not_depend_on_the_order_of_keys() -> None:
    assert describe({"metadata": {"b": "1", "a": "2"}, "x": 1}) == describe(
        {"x": 1, "metadata": {"a": "2", "b": "1"}}
    )


def test_layers_that_differ_are_counted_each_once() -> None:
    wide = layer("Dense", "dense", units=128, activation="tanh", dtype=policy("float32"))
    extra = layer("Dense", "extra", units=3)
    assert layers(model(DENSE, HEAD), model(DENSE, HEAD)) == (0, 2)
    assert layers(model(DENSE, HEAD), model(wide, HEAD)) == (1, 2)
    assert layers(model(DENSE, HEAD), model(wide, extra)) == (3, 3)
    assert layers(model(DENSE), {"metadata": {"a": "1"}}) == (0, 0)


def test_keys_are_all_but_the_layers() -> None:
    found = keys(model(DENSE, backend="torch", training_config={"optimizer": {"lr": 0.1}}))
    assert found == {
        "model_config.class": "Sequential",
        "model_config.name": "net",
        "backend": "torch",
        "training_config.optimizer.lr": "0.1",
    }


def test_a_file_beside_the_model_is_named_in_every_line() -> None:
    old = {"hidden_size": "64", "label2id.yes": "0", "gone": "null"}
    new = {"hidden_size": "128", "label2id.yes": "0", "label2id.no": "1"}
    assert compare_file("config.json", old, new) == (
        "config.json: gone null removed",
        "config.json: hidden_size 64 → 128",
        "config.json: label2id.no 1 added",
    )
    assert compare_file("config.json", old, old) == ()
    assert len(compare_file("a.json", {}, {str(i): "" for i in range(99)}, limit=5)) == 6
