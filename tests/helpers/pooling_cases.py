"""What the tests of `roi` and of `roi_fast` share: maps and regions of every kind that ever made trouble."""

import hypothesis.strategies as st
import torch

from helpers.draws import generator


@st.composite
def pooling_cases(draw, inverted=True):
    """Features, the regions of each image, a stride and an output size; every kind of region that ever made trouble."""
    g = generator(draw(st.integers(0, 100_000)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    images, channels = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    # Small whole numbers: many cells of a bin are equal, as after a ReLU, and the gradient must choose among them.
    features = torch.randint(-2, 3, (images, channels, height, width), generator=g).to(dtype)
    if draw(st.booleans()):
        features += torch.rand(features.shape, generator=g, dtype=dtype)

    scale = draw(st.sampled_from([1.0, 0.5, 1 / 16, 0.37]))
    map_size = torch.tensor([width, height], dtype=dtype) / scale  # in pixels
    regions = []
    for _ in range(images):
        kinds = draw(st.lists(st.sampled_from(["any", "tiny", "huge", "outside", "point", "inverted"]), max_size=5))
        boxes = torch.zeros(len(kinds), 4, dtype=dtype)
        for row, kind in enumerate(kinds):
            a, b = torch.rand(2, 2, generator=g, dtype=dtype) * map_size
            low, high = torch.minimum(a, b), torch.maximum(a, b)
            boxes[row] = {
                "any": torch.cat([low, high]),
                "tiny": torch.cat([low, low + 0.3 / scale]),
                "huge": torch.cat([low - 40 / scale, high + 40 / scale]),
                "outside": torch.cat([low + map_size, high + map_size]),
                "point": torch.cat([low, low]),
                "inverted": torch.cat([high, low] if inverted else [low, high]),
            }[kind]
        # Whole and half cells, where roundings differ, as often as any other place.
        regions.append((boxes * scale * 2).round() / 2 / scale if draw(st.booleans()) else boxes)
    size = draw(st.one_of(st.integers(1, 7), st.tuples(st.integers(1, 7), st.integers(1, 7))))
    return features, regions, size, scale


def value_and_gradient(pool, features, *arguments):
    """What `pool` gives, and the gradient of a random weighted sum of it."""
    features = features.clone().requires_grad_()
    pooled = pool(features, *arguments)
    weights = torch.randn(pooled.shape, generator=generator(0), dtype=pooled.dtype)
    (pooled * weights).sum().backward()
    return pooled.detach(), features.grad
