import sr.vision  # noqa: F401  before anything that imports torchvision
