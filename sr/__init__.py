import sr.runtime.torchvision_shim  # noqa: F401  before anything that imports torchvision
