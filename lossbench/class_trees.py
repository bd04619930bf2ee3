"""The class trees that come with the package, as plain data: `{parent: [children]}`."""

from __future__ import annotations

# The poster (paper 004) shows its CIFAR-10 tree only as a picture. Both trees below are our reading of it.
CIFAR_10 = {
    "root": ["vehicle", "animal"],
    "vehicle": ["road", "craft"],
    "road": ["automobile", "truck"],
    "craft": ["airplane", "ship"],
    "animal": ["carnivore", "ungulate", "nonmammal"],
    "carnivore": ["cat", "dog"],
    "ungulate": ["deer", "horse"],
    "nonmammal": ["bird", "frog"],
}

CIFAR_10_MAMMALS = {
    **CIFAR_10,
    "animal": ["mammal", "nonmammal"],
    "mammal": ["carnivore", "ungulate"],
}

# Seo and Shin 2019 also have the groups bottoms, dresses, outers and accessories with one class each. A group
# of one child carries no information, so here its class hangs directly below the group above.
FASHION_MNIST = {
    "root": ["clothes", "goods"],
    "clothes": ["tops", "Trouser", "Dress", "Coat"],
    "tops": ["T-shirt/top", "Pullover", "Shirt"],
    "goods": ["shoes", "Bag"],
    "shoes": ["Sandal", "Sneaker", "Ankle boot"],
}

_CIFAR_100_GROUPS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}

CIFAR_100 = {
    "root": list(_CIFAR_100_GROUPS),
    **{group: members.split() for group, members in _CIFAR_100_GROUPS.items()},
}

CIFAR_10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

CIFAR_100_CLASSES = tuple(sorted(" ".join(_CIFAR_100_GROUPS.values()).split()))  # the dataset's own order
