"""A measured cost c(α) inside somebody else's search, here pymoo's NSGA-II.

python examples/pymoo_search.py tables/cpu.json
"""

import sys
from pathlib import Path

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize

from predictors import cost_from_table, embedded_accuracy
from profiler import load_table

table = load_table(Path(sys.argv[1]))
space, cost = table.search_space, cost_from_table(table)
accuracy = embedded_accuracy(space)


def tokens_of(genes):
    """[n, 45] tokens of genes for all blocks: those beyond a stage's depth are dead."""
    return space.encode([space.decode(row) for row in genes])


class Architectures(Problem):
    def __init__(self):
        super().__init__(n_var=len(space.positions), n_obj=2, xl=0, xu=2, vtype=int)

    def _evaluate(self, genes, out, *args, **kwargs):
        tokens = tokens_of(genes)  # a whole population at once
        out["F"] = np.column_stack([cost(tokens), -accuracy.top1(tokens)])


mutation = PM(eta=3.0, vtype=float, repair=RoundingRepair())
algorithm = NSGA2(pop_size=100, sampling=IntegerRandomSampling(), mutation=mutation)
found = minimize(Architectures(), algorithm, ("n_gen", 40), seed=0)
for genes in found.X[np.argsort(found.F[:, 0])]:
    tokens = tokens_of(genes[None])
    print(f"{cost(tokens)[0]:.3f} ms  {accuracy.top1(tokens)[0]:.2%}  {space.format(tokens[0])}")
