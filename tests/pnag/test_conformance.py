from pnag.testing import ProblemConformance
from tests.pnag.landscapes import mobilenet_problem, tabular_problem


class TestMobileNetV3(ProblemConformance):
    def problem(self):
        return mobilenet_problem()


class TestTabular(ProblemConformance):
    """With combinations missing."""

    def problem(self):
        return tabular_problem(keep=0.6)
