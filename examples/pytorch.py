import bnorm.torch
import torch
from torch import nn

model = nn.Sequential(nn.Conv2d(3, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
                      nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
model = bnorm.torch.convert(model)  # batch norm and ReLU are one pass now, forward and backward

optimizer = torch.optim.SGD(model.parameters(), 0.1)
images, labels = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))
for step in range(3):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    print(f"step {step} on {bnorm.isa()}: loss {loss.item():.4f}")
