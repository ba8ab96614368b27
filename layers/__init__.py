"""Custom Keras layers of the suite, one idea per file."""
from layers.anchors import Anchors
from layers.attention_pooling import AttentionPooling
from layers.batch_normalization import BatchNormalization
from layers.bed_of_nails import BedOfNails
from layers.bilinear import BilinearInitializer
from layers.box_coder import BoxCoder
from layers.box_matcher import BoxMatcher
from layers.dropout import ClassicDropout, InvertedDropout
from layers.elu import ELU
from layers.feature_pyramid import FeaturePyramid
from layers.hard_negative_mining import HardNegativeMining
from layers.key_value_hop import KeyValueHop
from layers.local_response_normalization import LocalResponseNormalization
from layers.mask_crop import MaskCrop
from layers.match_type import MatchType
from layers.max_pooling_with_holes import MaxPoolingWithHoles
from layers.max_unpooling import MaxPoolingWithArgmax, MaxUnpooling
from layers.maxout import Maxout
from layers.maxout_conv2d import MaxoutConv2D
from layers.memory_hop import MemoryHop
from layers.memory_hops import MemoryHops
from layers.non_max_suppression import NonMaxSuppression
from layers.region_proposals import RegionProposals
from layers.roi_align import RoIAlign
from layers.roi_pooling import RoIPooling
from layers.roi_warp import RoIWarp
from layers.sampler import BalancedSampler
from layers.sentence_embedding import SentenceEmbedding
from layers.subsampling import Subsampling
from layers.table_conv2d import LENET5_TABLE, TableConv2D
from layers.time_index import TimeIndex

__all__ = [
    "Anchors", "AttentionPooling", "BalancedSampler", "BatchNormalization", "BedOfNails", "BilinearInitializer", "BoxCoder",
    "BoxMatcher", "ClassicDropout", "ELU", "FeaturePyramid", "HardNegativeMining", "InvertedDropout", "KeyValueHop",
    "LENET5_TABLE", "LocalResponseNormalization", "MaskCrop", "MatchType", "MaxPoolingWithArgmax", "MaxPoolingWithHoles",
    "MaxUnpooling", "Maxout", "MaxoutConv2D", "MemoryHop", "MemoryHops", "NonMaxSuppression", "RegionProposals", "RoIAlign",
    "RoIPooling", "RoIWarp", "SentenceEmbedding", "Subsampling", "TableConv2D", "TimeIndex",
]
