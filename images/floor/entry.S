/* entry.S: from the 32-bit PVH entry to C in 64-bit mode.
 *
 * PVH (Xen's docs/misc/pvh.pandoc): the VMM finds the entry point in an ELF note and jumps there in 32-bit protected
 * mode with flat segments, paging off, and %ebx = physical address of struct hvm_start_info. QEMU (both machines) and
 * Xen do so alike; no boot loader, no real mode.
 */
        /* XEN_ELFNOTE_PHYS32_ENTRY. The value has eight bytes because QEMU reads a size_t there. */
        .section .note.Xen, "a", @note
        .balign 4
        .long 4, 8, 18
        .asciz "Xen"
        .quad start

        .section .text.start, "ax"
        .code32
        .globl start
start:
        cli                             /* there is no IDT: any exception is a triple fault, which the VMM sees */
        cld
        mov $stack_end, %esp
        mov $bss_start, %edi            /* QEMU leaves what was in RAM there */
        mov $bss_end, %ecx
        sub %edi, %ecx
        shr $2, %ecx
        xor %eax, %eax
        rep stosl

        mov %cr4, %eax                  /* long mode: PAE, page tables, EFER.LME, paging */
        or $0x20, %eax
        mov %eax, %cr4
        mov $pml4, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr
        or $0x100, %eax
        wrmsr
        mov %cr0, %eax
        or $0x80000001, %eax
        mov %eax, %cr0
        lgdt gdt_pointer
        ljmp $8, $long_mode

        .code64
long_mode:
        xor %eax, %eax                  /* null data segments are fine in ring 0 */
        mov %eax, %ds
        mov %eax, %es
        mov %eax, %ss
        mov %ebx, %edi                  /* first argument: hvm_start_info */
        call floor_main
        .globl triple_fault             /* also the last resort for going away */
triple_fault:
        lidt no_idt
        ud2

        .section .rodata
        .balign 8
gdt:    .quad 0, 0x00af9a000000ffff     /* one 64-bit code segment */
gdt_pointer:
        .word . - gdt - 1
        .long gdt
no_idt: .word 0
        .quad 0

        /* Identity map of the first 4 GiB (RAM below it, ACPI tables, the event device of microvm) in 2 MiB pages: every
           CPU model has them, 1 GiB pages not. Assembled, not computed: 16 KiB of file for no instructions at boot. */
        .section .data
        .balign 4096
pml4:   .quad pdpt + 3
        .balign 4096
pdpt:   .quad pd + 3, pd + 0x1003, pd + 0x2003, pd + 0x3003
        .balign 4096
        .set frame, 0
pd:     .rept 2048
        .quad frame + 0x83              /* present, writable, large */
        .set frame, frame + 0x200000
        .endr

        .section .stack, "aw", @nobits
        .balign 16
        .skip 16384
stack_end:
        .section .note.GNU-stack, "", @progbits
