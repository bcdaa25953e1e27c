"""The torchvision image transforms that the peer uses, implemented with Pillow and torch.

Used only if torchvision cannot be imported. They do the same work on the same types as torchvision's Pillow backend, so
that timings are representative.
"""

import math
import random
import sys
import types

import numpy as np
import torch
from PIL import Image, ImageOps


class Compose:
  def __init__(self, transforms):
    self.transforms = transforms

  def __call__(self, image):
    for transform in self.transforms:
      image = transform(image)
    return image


class Resize:
  def __init__(self, size):
    self.height, self.width = size

  def __call__(self, image):
    return image.resize((self.width, self.height), Image.BILINEAR)


class RandomHorizontalFlip:
  def __init__(self, p=0.5):
    self.p = p

  def __call__(self, image):
    if torch.rand(1).item() < self.p:
      return image.transpose(Image.FLIP_LEFT_RIGHT)
    return image


class Pad:
  def __init__(self, padding):
    self.padding = padding

  def __call__(self, image):
    return ImageOps.expand(image, border=self.padding, fill=0)


class RandomCrop:
  def __init__(self, size):
    self.height, self.width = size

  def __call__(self, image):
    width, height = image.size
    top = int(torch.randint(0, height - self.height + 1, (1,)))
    left = int(torch.randint(0, width - self.width + 1, (1,)))
    return image.crop((left, top, left + self.width, top + self.height))


class ToTensor:
  def __call__(self, image):
    pixels = torch.from_numpy(np.array(image, copy=True))
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


class Normalize:
  def __init__(self, mean, std):
    self.mean, self.std = mean, std

  def __call__(self, image):
    mean = torch.as_tensor(self.mean, dtype=image.dtype).view(-1, 1, 1)
    std = torch.as_tensor(self.std, dtype=image.dtype).view(-1, 1, 1)
    return image.clone().sub_(mean).div_(std)


class RandomErasing:
  def __init__(self, p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0):
    self.p, self.scale, self.ratio, self.value = p, scale, ratio, value

  def __call__(self, image):
    if random.random() >= self.p:
      return image
    _, height, width = image.shape
    for _ in range(10):
      area = random.uniform(*self.scale) * height * width
      ratio = math.exp(random.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
      tall, wide = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
      if 0 < tall < height and 0 < wide < width:
        top, left = random.randint(0, height - tall), random.randint(0, width - wide)
        image = image.clone()
        image[:, top : top + tall, left : left + wide] = torch.as_tensor(self.value, dtype=image.dtype).view(-1, 1, 1)
        return image
    return image


def install():
  """Puts these in sys.modules under torchvision's names."""
  package, transforms = types.ModuleType("torchvision"), types.ModuleType("torchvision.transforms")
  for kind in (Compose, Resize, RandomHorizontalFlip, Pad, RandomCrop, ToTensor, Normalize, RandomErasing):
    setattr(transforms, kind.__name__, kind)
  package.transforms = transforms
  sys.modules["torchvision"], sys.modules["torchvision.transforms"] = package, transforms
