"""A decoder as GGUF, by the package gguf: python write_gguf.py FOLDER FILE."""

import sys

import gguf
from netfile import Net


def main():
    net, (_, _, target) = Net(sys.argv[1]), sys.argv
    about = net.steps[0]
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name(net.name)
    writer.add_context_length(512)
    writer.add_embedding_length(about["width"])
    writer.add_block_count(about["blocks"])
    writer.add_feed_forward_length(about["inner"])
    writer.add_head_count(about["heads"])
    writer.add_rope_dimension_count(about["width"] // about["heads"])
    writer.add_rope_freq_base(about["rope_base"])
    writer.add_layer_norm_rms_eps(about["epsilon"])
    writer.add_vocab_size(about["vocabulary"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("no_vocab")  # who asks it has token numbers
    for name in net.table:
        writer.add_tensor(name, net.array(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
