"""The obvious way, to measure against: one torch module a seed, contiguous layout, torch's optimiser, a plain loop."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_DIRECTIONS = 10
STEP = 1e-3


class PlainConvNet(nn.Module):
    """The paper's network as anyone would write it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = nn.Conv2d(3, 32, 5), nn.Conv2d(32, 64, 3), nn.Conv2d(64, 128, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(512, 128), nn.Linear(128, 128), nn.Linear(128, 2)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = F.max_pool2d(F.relu(convolution(x)), 2)
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc3(F.relu(self.fc2(x)))


class PlainStep:
    """One training step of one seed."""

    def __init__(self, device: torch.device) -> None:
        self.net = PlainConvNet().to(device)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.net(images), labels).backward()
        self.optimizer.step()


class PlainCurvature:
    """The curvature of one batch: for each direction the gradients at both ends, 20 passes."""

    def __init__(self, device: torch.device) -> None:
        self.net = PlainConvNet().to(device)

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        norms = []
        for _ in range(NUM_DIRECTIONS):
            direction = torch.randint(0, 2, images.shape, device=images.device) * 2.0 - 1
            change = self._gradient(images + STEP * direction, labels) - self._gradient(images, labels)
            norms.append(change.flatten(1).norm(dim=1))
        return torch.cat(norms).mean()

    def _gradient(self, images: Tensor, labels: Tensor) -> Tensor:
        leaf = images.clone().requires_grad_(True)
        return torch.autograd.grad(F.cross_entropy(self.net(leaf), labels), leaf)[0]
