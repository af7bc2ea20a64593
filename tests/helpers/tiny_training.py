"""A training small enough to be killed: the detector, its data, and a program that `test_training.py` starts and ends.

    python tiny_training.py CHECKPOINT WEIGHTS [place]

trains with resume and writes the final weights. On the way it says where it is: "epoch E step S" after each step,
"validation" before each of its batches, "epoch E score" after it. At `place` it stays until it is killed.
"""

import sys
import time
from dataclasses import asdict

import torch
from torch import nn
from torch.utils.data import DataLoader

from frcnn_lessons.training import Settings, train


class TinyDetector(nn.Module):
    """A detector in name only: a line through the mean colour, a batch norm, and a sampler that draws."""

    def __init__(self, seed=0, width=4):
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, width)
        nn.init.normal_(self.head.weight, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)

    def forward(self, images, targets=None):
        features = self.norm(torch.stack([image.mean(dim=(1, 2)) for image in images]))  # (N, 3)
        found = self.head(features)  # (N, 4)
        if not self.training:
            return [
                {"boxes": row[None].float(), "labels": torch.ones(1, dtype=torch.long), "scores": torch.ones(1)}
                for row in found
            ]
        wanted = torch.stack([target["boxes"].mean(dim=0) for target in targets])
        noise = torch.rand(len(images), generator=self.generator)  # which regions to learn from
        return {
            "loss_box_reg": ((found - wanted).pow(2).mean(dim=1) * noise).mean(),
            "loss_classifier": found.pow(2).mean() * 0.1,
            "accuracy": (noise > 0.5).float().mean(),
        }


class Scenes(torch.utils.data.Dataset):
    """Eight images of noise; one random flip if there is a generator for it."""

    def __init__(self, flip=None):
        self.flip = flip

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(index))
        if self.flip is not None and torch.rand((), generator=self.flip) < 0.5:
            image = 1 - image
        return image, {"boxes": torch.tensor([[0.0, 0.0, 1.0 + index, 2.0]]), "image_id": f"scene_{index}"}


def collate(samples):
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)


def loader(seed=0, flip=None, workers=0, batch_size=3):
    return DataLoader(
        Scenes(flip),
        batch_size=batch_size,
        shuffle=True,
        collate_fn=collate,
        num_workers=workers,
        generator=torch.Generator().manual_seed(seed),
    )


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


SETTINGS = Settings(epochs=3, learning_rate=0.01, schedule="cosine", warmup_steps=2, clip_norm=5.0)


class TellingLoader(DataLoader):
    """Calls `tell` before each batch."""

    tell = None

    def __iter__(self):
        for batch in super().__iter__():
            self.tell()
            yield batch


def main(checkpoint, weights, place=None):
    model, flip = TinyDetector(), torch.Generator().manual_seed(7)
    data = loader(flip=flip)
    validation = TellingLoader(Scenes(), 3, collate_fn=collate, generator=torch.Generator())

    def tell(what):
        print(what, flush=True)
        time.sleep(600 if what == place else 0)

    def on_step(history):
        steps = len(history.steps["total"])
        tell(f"epoch {(steps - 1) // len(data) + 1} step {(steps - 1) % len(data) + 1}")

    def score(history):
        tell(f"epoch {len(history.train['total'])} score")
        # It draws, too: what comes after must not depend on how often it was called.
        history.validation.setdefault("AP50", []).append(float(torch.rand((), generator=flip)))

    validation.tell = lambda: tell("validation")
    history = train(
        model,
        data,
        SETTINGS,
        validation=validation,
        checkpoint=checkpoint,
        resume=True,
        generators={"flip": flip},
        on_step=on_step,
        after_epoch=score,
    )
    torch.save({"model": model.state_dict(), "history": asdict(history)}, weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
