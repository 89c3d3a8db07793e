"""A control: where the object is, on data sets that know it."""

from torch import Tensor

from xkd.errors import Refused
from xkd.explain._subject import Subject

LABEL = "True square"
ONE_CLASS = True
SUBJECT = ("objects",)
CONTROL = True


def of_class(subject: Subject, images: Tensor, classes: Tensor) -> Tensor:
    """1 on the object and 0 elsewhere, [B, H, W]. Raises Refused when no objects are known."""
    if subject.objects is None:
        raise Refused(
            "'true_square' needs to know where the object is, and this data set does not say; "
            "leave it out of the explanations"
        )
    return subject.objects.to(images)
