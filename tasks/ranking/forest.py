"""A LightGBM booster as bit masks: the same sums of leaf values, in a fraction of the time.

QuickScorer (Lucchese et al., SIGIR 2015): a tree's leaves are the bits of a word, and what a value
of a feature excludes, in all nodes of the tree that ask for it, is a mask known beforehand. The leaf
that a row ends in is the bit that the masks of all its features leave. Masks may be joined in any
order, so those of a user or of a track are joined once for all of its candidates. Leaf values are
summed in LightGBM's own order, tree by tree in float64, and the sums are its own to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.ranking.protocol import Floats

Masks = NDArray[np.uint64]
Codes = NDArray[np.uint16]
Values = NDArray[np.float32]
Places = NDArray[np.int32]

LEAVES = 63  # of a word: its lowest bit stands for none
WORDS = 64  # about as many at a time, so that the masks of some features stay near the processor
ROWS = 65_536  # a thread's share at a time

ZERO = float(np.float32(1e-35))  # LightGBM's kZeroThreshold

# bits of a node's decision_type; what is missing is the same in all nodes of a feature
CATEGORY, DEFAULT_LEFT, ZERO_IS_MISSING, NAN_IS_MISSING = 1, 2, 4, 8


@dataclass(frozen=True)
class Edges:
    """What tells a feature's values apart: its thresholds, or the categories with a name; rising.

    ``zero``: numbers up to it from 0 are missing, all the same; below 0 where 0 is a number like others.
    """

    values: Floats
    category: bool
    zero: float

    @property
    def codes(self) -> int:
        """How many kinds of values there are; the kernels that code them say which."""
        return len(self.values) + (1 if self.category else 3)


@dataclass(frozen=True)
class Coded:
    """Rows (× ``features``, by their numbers in the booster) as codes of their values."""

    features: NDArray[np.int64]
    codes: Codes


@dataclass(frozen=True)
class Block:
    """Some trees, each a word or, with more than 63 leaves, several.

    ``masks`` (codes of all features × words) have the bits of the leaves that a value leaves,
    ``every`` those of all leaves; ``values`` (words × 64) are the leaves' values where the kernel
    looks for them, and 0 where it looks when no leaf of a word is left.
    """

    masks: Masks
    every: Masks
    values: Floats


@dataclass(frozen=True)
class Tree:
    """As in the booster's text; a child below 0 is the leaf ``~child``.

    ``threshold``: numbers up to it go left; of a categorical node it is the number of its bit set,
    ``bits[bounds[n] : bounds[n + 1]]``, words of 32 bits, and the categories in the set go left.
    """

    value: Floats
    feature: NDArray[np.int64]
    threshold: Floats
    decision: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    bounds: NDArray[np.int64]
    bits: NDArray[np.int64]

    def categories(self, node: int) -> NDArray[np.int64]:
        """The categories that go left at a categorical node, rising."""
        which = int(self.threshold[node])
        words = self.bits[self.bounds[which] : self.bounds[which + 1]]
        return np.flatnonzero((words[:, None] >> np.arange(32)) & 1)


@dataclass(frozen=True)
class Forest:
    """Trees in blocks; the rows of their masks that are of feature f begin at ``start[f]``."""

    edges: tuple[Edges, ...]
    start: NDArray[np.int64]
    blocks: tuple[Block, ...]

    def code(self, matrix: Values, features: Sequence[int], out: Codes) -> None:
        """Write the codes of a matrix's values (rows × ``features``, NaN for null) into ``out``."""
        from tasks.ranking import forest_kernels as kernels

        for place, feature in enumerate(features):
            edges, column = self.edges[feature], matrix[:, place]
            if edges.category:
                kernels.code_categories(column, edges.values, out[:, place])
            else:
                near = _float32(edges.values, kernels.STEP)
                last = near[kernels.STEP - 1 :: kernels.STEP].copy()
                kernels.code_numbers(column, near, last, len(edges.values), edges.zero, out[:, place])

    def sums(self, pairs: Coded, sides: Sequence[tuple[Coded, Places]], threads: int) -> Floats:
        """The sum of leaf values of each row of ``pairs``.

        Features that ``pairs`` lack are in at most two ``sides``: tables, and each row's place in them.
        """
        from tasks.ranking import forest_kernels as kernels

        rows = len(pairs.codes)
        nothing = Coded(np.empty(0, np.int64), np.empty((1, 0), np.uint16)), np.zeros(rows, np.int32)
        (users, user), (tracks, track) = [*sides, nothing, nothing][:2]
        out = np.zeros(rows)

        def narrow(block: Block, side: Coded, left: Masks, part: slice) -> None:
            start = self.start[side.features]
            kernels.narrow(side.codes[part], start, block.masks, block.every, left[part])

        def add(block: Block, left: Sequence[Masks], part: slice) -> None:
            kernels.add(
                pairs.codes[part], self.start[pairs.features], block.masks, user[part], track[part],
                left[0], left[1], block.values, out[part],
            )  # fmt: skip

        with ThreadPoolExecutor(threads) as pool:
            for block in self.blocks:
                left = []
                for side in (users, tracks):
                    left.append(np.empty((len(side.codes), len(block.every)), np.uint64))
                    _each(pool, len(side.codes), partial(narrow, block, side, left[-1]))
                _each(pool, rows, partial(add, block, left))
        return out


def read(text: str) -> Forest:
    """The forest of a booster's text, all of its trees.

    Raises ValueError for what this project never grows: several trees an iteration, averages of
    trees, linear models in leaves.
    """
    head, *parts = text.split("\nTree=")
    told = _told(head)
    if told.get("num_tree_per_iteration", "1") != "1" or "average_output" in told:
        raise ValueError("a forest is a sum of one tree an iteration")
    trees = [_tree(part) for part in parts]
    edges = _edges(trees, int(told["max_feature_idx"]) + 1)
    start = np.cumsum([0, *(each.codes for each in edges)])
    number = (np.cumsum([_words(tree) for tree in trees]) - 1) // WORDS  # of each tree's block
    blocks = (
        _block([trees[place] for place in np.flatnonzero(number == each)], edges, start)
        for each in np.unique(number)
    )
    return Forest(edges, start, tuple(blocks))


def _each(pool: ThreadPoolExecutor, rows: int, work: Callable[[slice], None]) -> None:
    """Do ``work`` on all rows, a part at a time in each thread."""
    list(pool.map(work, (slice(start, start + ROWS) for start in range(0, rows, ROWS))))


def _float32(edges: Floats, step: int) -> Values:
    """The largest float32 up to each edge, which tell float32 apart as the edges do; then infinities.

    Together a multiple of ``step`` and at least one more than there are edges.
    """
    with np.errstate(over="ignore"):
        near = edges.astype(np.float32)
    down = np.where(near > edges, np.nextafter(near, np.float32(-np.inf)), near)
    return np.append(down, np.full(step - len(down) % step, np.inf, np.float32))


def _told(lines: str) -> dict[str, str]:
    return {name: value for name, _, value in (line.partition("=") for line in lines.split("\n"))}


def _tree(part: str) -> Tree:
    told = _told(part.partition("\n\n")[0])
    if told.get("is_linear", "0") != "0":
        raise ValueError("a forest has a value in each leaf, not a linear model")

    def numbers(name: str, kind: type[np.generic]) -> Any:
        return np.array(told.get(name, "").split(), dtype=kind)

    return Tree(
        numbers("leaf_value", np.float64),
        numbers("split_feature", np.int64),
        numbers("threshold", np.float64),
        numbers("decision_type", np.int64),
        numbers("left_child", np.int64),
        numbers("right_child", np.int64),
        numbers("cat_boundaries", np.int64),
        numbers("cat_threshold", np.int64),
    )


def _words(tree: Tree) -> int:
    return -(-len(tree.value) // LEAVES)


def _edges(trees: Sequence[Tree], features: int) -> tuple[Edges, ...]:
    found: list[list[Floats]] = [[np.empty(0)] for _ in range(features)]
    decisions = np.zeros(features, np.int64)
    for tree in trees:
        for node, feature in enumerate(tree.feature):
            decisions[feature] |= tree.decision[node]
            named = tree.decision[node] & CATEGORY
            found[feature].append(tree.categories(node) if named else tree.threshold[node : node + 1])
    edges = tuple(
        Edges(
            np.unique(np.concatenate(values)),
            bool(decision & CATEGORY),
            ZERO if decision & ZERO_IS_MISSING else -1.0,
        )
        for values, decision in zip(found, decisions, strict=True)
    )
    if max((each.codes for each in edges), default=0) > 1 << 16:
        raise ValueError("a feature has more thresholds than 16 bits can number")
    return edges


def _block(trees: Sequence[Tree], edges: Sequence[Edges], start: NDArray[np.int64]) -> Block:
    from tasks.ranking.forest_kernels import place_of

    words = sum(map(_words, trees))
    every = np.zeros(words, np.uint64)
    values = np.zeros((words, 64))
    masks = np.full((int(start[-1]), words), ~np.uint64(0))
    word = 0
    for tree in trees:
        for leaf, value in enumerate(tree.value):
            bit = np.uint64(1) << np.uint64(1 + leaf % LEAVES)
            every[word + leaf // LEAVES] |= bit
            values[word + leaf // LEAVES, place_of(bit)] = value
        for node, below in _leaves(tree):
            feature = tree.feature[node]
            goes = _goes_left(tree, node, edges[feature])
            rows = slice(start[feature], start[feature + 1])
            for place in range(_words(tree)):
                left, right = (np.uint64(_word(leaves, place)) for leaves in below)
                if left | right:  # most nodes of a large tree are above few of its words
                    masks[rows, word + place] &= ~np.where(goes, right, left)
        word += _words(tree)
    return Block(masks, every, values)


def _leaves(tree: Tree) -> Iterator[tuple[int, tuple[int, int]]]:
    """Each node and, as bits, the leaves to its left and right."""
    below = [0] * len(tree.feature)
    children = list(zip(tree.left.tolist(), tree.right.tolist(), strict=True))
    for node in reversed(range(len(children))):  # a child has a larger number than its parent
        left, right = (1 << ~child if child < 0 else below[child] for child in children[node])
        below[node] = left | right
        yield node, (left, right)


def _word(leaves: int, place: int) -> int:
    return (leaves >> place * LEAVES & (1 << LEAVES) - 1) << 1


def _goes_left(tree: Tree, node: int, edges: Edges) -> NDArray[np.bool_]:
    """Whether the values of each code go left at a node."""
    decision = tree.decision[node]
    if decision & CATEGORY:
        return np.append(np.isin(edges.values, tree.categories(node)), False)
    threshold = tree.threshold[node]
    default = bool(decision & DEFAULT_LEFT)
    # no number is 0 where that is not what is missing
    zero = default if decision & ZERO_IS_MISSING else bool(threshold >= 0.0)
    nothing = default if decision & NAN_IS_MISSING else zero
    return np.concatenate([edges.values <= threshold, [False, nothing, zero]])
