/* The smallest Python interpreter: main() around libpython. Built as a PIE where the machine's own interpreter has a
   fixed address, which Unikraft cannot load. The declaration is Python's stable ABI (Py_BytesMain, 3.8): no headers. */
int Py_BytesMain(int argc, char **argv);

int main(int argc, char **argv)
{
    return Py_BytesMain(argc, argv);
}
