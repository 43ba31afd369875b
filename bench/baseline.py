"""The obvious way, to measure against: one torch module a seed, contiguous layout, torch's optimiser."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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

    def __init__(self) -> None:
        self.net = PlainConvNet()
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.01, momentum=0.9)

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.optimizer.zero_grad()
        F.cross_entropy(self.net(images), labels).backward()
        self.optimizer.step()
