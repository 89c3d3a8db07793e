"""What every method must keep."""

import ast

import pytest
import torch
from fake_methods import (
    CLASSES,
    RECIPE,
    options_of,
    real,
    total,
)
from jsonschema import Draft202012Validator
from torch._subclasses.fake_tensor import FakeTensorMode

from xkd import fingerprint, methods
from xkd.errors import Refused
from xkd.methods.base import BaseMethod, Stage, TeacherAnswer

# ---------------------------------------------------------------------------------------- contract

EVERY = pytest.mark.parametrize("name", methods.known())


def stages_of(method: BaseMethod) -> list[Stage]:
    return method.stages(RECIPE)


@EVERY
def test_every_method_returns_the_terms_of_its_stage_as_finite_scalars(name):
    method, batch = real(name)
    for stage in stages_of(method):
        result = method(batch, stage.name)
        assert set(result.terms) == set(stage.weights_at(1))
        assert set(result.terms) <= set(method.WEIGHTS)
        for value in (*result.terms.values(), *result.meters.values()):
            assert value.shape == ()
            assert value.isfinite()
        assert result.logits.shape == (4, CLASSES)
        assert not any(meter.requires_grad for meter in result.meters.values())


@EVERY
def test_every_method_trains_what_it_says_and_never_its_teacher(name):
    method, batch = real(name)
    for index, stage in enumerate(stages_of(method)):
        method.zero_grad()
        total(method, method(batch, stage.name), stage=index).backward()
        trained = list(method.trained(stage.name))
        assert trained
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    for part in (part for part in batch.teacher if not callable(part)):
        assert all(value.grad is None for value in (part if isinstance(part, tuple) else (part,)))


@EVERY
def test_every_method_asks_for_the_teacher_that_it_uses(name):
    method, batch = real(name)
    parts = {part: getattr(batch.teacher, part) for part in method.TEACHER}
    answer = TeacherAnswer(**parts) if parts else None
    asked = batch if method.STRONG_VIEW else batch._replace(strong=None)
    for stage in stages_of(method):
        method(asked._replace(teacher=answer), stage.name)


@EVERY
def test_no_method_reads_a_tensor_on_the_host(name):
    """A fake tensor has a shape but no values: to read one, or to let a shape hang on values, fails
    there as it would while a CUDA graph is captured."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        method, batch = real(name)
        for index, stage in enumerate(stages_of(method)):
            total(method, method(batch, stage.name), stage=index).backward()


@EVERY
def test_every_method_computes_its_terms_in_single_precision_under_autocast(name):
    method, batch = real(name)
    for stage in stages_of(method):
        with torch.autocast("cpu", torch.bfloat16):
            terms = method(batch, stage.name).terms.values()
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms)


@EVERY
def test_every_method_declares_itself_in_literals_that_the_config_can_read(name):
    method = methods.load(name)
    declared = fingerprint.literals(f"xkd.methods.{name}", "Method")
    assert declared.get("OPTIONS", {}) == method.OPTIONS
    assert declared.get("WEIGHTS", {}) == method.WEIGHTS
    declarations = (
        "TEACHER",
        "REINFORCES",
        "WHOLE_BATCH",
        "STRONG_VIEW",
        "NEEDS",
        "PASSES",
        "FAMILY",
        "NETWORK",
    )
    for name in declarations:
        assert declared.get(name, getattr(BaseMethod, name)) == getattr(method, name)
    assert set(method.TEACHER) <= set(TeacherAnswer._fields)
    assert method.WEIGHTS
    assert ast.literal_eval(repr(method.OPTIONS)) == method.OPTIONS


@EVERY
def test_every_method_has_options_that_are_json_schema_and_fit_their_defaults(name):
    schema = {"type": "object", "properties": methods.load(name).OPTIONS}
    Draft202012Validator.check_schema(schema)
    defaults = options_of(name)
    del defaults["weights"]
    Draft202012Validator(schema).validate(defaults)


def test_an_unknown_method_is_refused_with_a_suggestion():
    with pytest.raises(Refused, match="unknown method 'fitnets'; did you mean 'fitnet'"):
        methods.load("fitnets")
